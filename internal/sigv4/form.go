package sigv4

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"encoding/hex"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"slices"
	"strings"
	"time"
)

const (
	// maxFields bounds the bytes of a form in front of its file, as S3 does.
	maxFields = 20 << 10
	// maxBuffered is the most bytes, from where the file begins to the form's
	// end, that are read before the form is accepted.
	maxBuffered = 64<<10 + maxFields
)

var (
	errForm = newError("MalformedPOSTRequest", "The body of your POST request is not well-formed multipart/form-data.")
	// A longer file is on its way before its end is known.
	errFormEnd = newError("MalformedPOSTRequest", "The body of your POST request is not well-formed multipart/form-data. "+
		"A file of more than 64 KiB must be the last field, and the last boundary must end with CRLF.")
	errFields = newError("MaxPostPreDataLengthExceeded", "Your POST request fields preceding the upload file were too large.",
		Field{"MaxPostPreDataLengthBytes", "20480"})
	errConflict = invalidArgument("Only one auth mechanism allowed; a form is authenticated by its fields alone", "Authorization")
)

// formAuth are the fields that authenticate a form, all of which it has. They
// are asked for in this order.
var formAuth = []string{"policy", "x-amz-signature", "x-amz-algorithm", "x-amz-credential", "x-amz-date"}

// formHeaders are the fields that stand for a header, besides x-amz-*.
var formHeaders = []string{
	"cache-control", "content-disposition", "content-encoding", "content-language", "content-md5", "content-type", "expires",
}

// formNames has the headers of fields that have another name.
var formNames = map[string]string{
	"acl":                      "x-amz-acl",
	"x-amz-checksum-algorithm": "x-amz-sdk-checksum-algorithm",
}

// isForm reports whether r is a form that a browser posts to a bucket, or would
// have to be one: nothing else is posted there that is not signed elsewhere.
func isForm(r *http.Request, t target) bool {
	return r.Method == http.MethodPost && len(t.params) == 0 && (r.Header["Authorization"] == nil || isFormData(r.Header))
}

func isFormData(h http.Header) bool {
	kind, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	return strings.EqualFold(strings.TrimSpace(kind), "multipart/form-data")
}

// verifyForm authenticates a form by its policy. It reads the fields in front of
// the file and, when the signature has proved genuine, a short file.
func (v *Verifier) verifyForm(r *http.Request, t target) (*Request, error) {
	bucket := ""
	if v.Bucket != nil {
		bucket = v.Bucket(r.Host, t.path)
	}
	if bucket == "" {
		resource := "OBJECT"
		if t.path == "/" {
			resource = "SERVICE"
		}
		return nil, newError("MethodNotAllowed", "The specified method is not allowed against this resource.",
			Field{"Method", r.Method}, Field{"ResourceType", resource})
	}
	if err := checkFormHead(r); err != nil {
		return nil, err
	}
	f, err := readFields(r)
	if err != nil {
		return nil, err
	}
	sig, err := f.signature()
	if err != nil {
		return nil, err
	}
	if err := v.checkClaims(sig); err != nil {
		return nil, err
	}
	key, err := v.signingKey(sig)
	if err != nil {
		return nil, err
	}
	text := f.fields["policy"]
	if !hmac.Equal([]byte(hex.EncodeToString(hmacSHA256(key, text))), []byte(sig.hex)) {
		return nil, signatureMismatch(sig, text, "")
	}
	if err := f.expand(bucket); err != nil {
		return nil, err
	}
	if err := f.openFile(); err != nil {
		return nil, err
	}
	p, err := parsePolicy(text)
	if err != nil {
		return nil, err
	}
	if err := p.check(f.fields, f.length, v.now()); err != nil {
		return nil, err
	}
	return f.request(r, t, sig)
}

// checkFormHead checks what can be said of a form by its head. Its headers mean
// nothing: nobody has signed them.
func checkFormHead(r *http.Request) error {
	switch {
	case r.Header["Authorization"] != nil:
		return errConflict
	case !isFormData(r.Header):
		return newError("PreconditionFailed", "At least one of the pre-conditions you specified did not hold",
			Field{"Condition", "Bucket POST must be of the enclosure-type multipart/form-data"})
	case r.ContentLength < 0:
		return errNoLength
	}
	var unsigned []string
	for key := range r.Header {
		if name := strings.ToLower(key); strings.HasPrefix(name, "x-amz-") {
			unsigned = append(unsigned, name)
		}
	}
	return notSigned(unsigned)
}

// A postForm is a body of multipart/form-data, read up to where its file begins.
type postForm struct {
	fields   map[string]string // in front of the file, by name in lower case; those of one name joined by commas
	filename *string           // of the file, if it has one
	boundary string
	body     *formBody
	reader   *multipart.Reader
	part     *multipart.Part // the file
	file     io.Reader       // once openFile has found its length
	length   int64
}

// readFields reads r up to the first byte of the field named file, and nothing
// behind it.
func readFields(r *http.Request) (*postForm, error) {
	_, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || params["boundary"] == "" {
		return nil, errForm
	}
	body := &formBody{src: bufio.NewReader(r.Body), left: r.ContentLength, fields: maxFields}
	f := &postForm{fields: make(map[string]string), boundary: params["boundary"], body: body, reader: multipart.NewReader(body, params["boundary"])}
	for f.part == nil {
		if err := f.readField(); err != nil {
			return nil, f.fault(err, errForm)
		}
	}
	body.fields = -1
	return f, nil
}

// readField reads the next field, or of the file what stands in front of it.
func (f *postForm) readField() error {
	part, err := f.reader.NextRawPart()
	if err == io.EOF { //nolint:errorlint // a wrapped end is a fault
		return invalidArgument("POST requires exactly one file upload per request.", "file", "0")
	}
	if err != nil {
		return err
	}
	disposition, params, err := mime.ParseMediaType(part.Header.Get("Content-Disposition"))
	name := strings.ToLower(params["name"])
	if err != nil || disposition != "form-data" || name == "" {
		return errForm
	}
	if name == "file" {
		f.part = part
		if filename, ok := params["filename"]; ok {
			f.filename = &filename
		}
		return nil
	}
	value, err := io.ReadAll(part) //nolint:forbidigo // formBody limits it
	if err != nil {
		return err
	}
	if earlier, ok := f.fields[name]; ok {
		value = []byte(earlier + "," + string(value))
	}
	f.fields[name] = string(value)
	return nil
}

// fault returns what an error of the multipart reader comes from: the body, or
// ourselves. Otherwise it is malformed.
func (f *postForm) fault(err, malformed error) error {
	var wrong *Error
	switch {
	case f.body.err != nil && !errors.Is(f.body.err, io.EOF):
		return readError(f.body.err)
	case errors.As(err, &wrong):
		return wrong
	}
	return malformed
}

// signature parses the fields that authenticate the form.
func (f *postForm) signature() (signature, error) {
	s := signature{form: true, expires: maxExpires * time.Second}
	has := func(name string) bool { _, ok := f.fields[name]; return ok }
	switch {
	case has("awsaccesskeyid") || has("signature"):
		return s, errVersion2
	case has("x-amz-s3session-token"):
		return s, errToken
	case !slices.ContainsFunc(formAuth, has):
		return s, newError("AccessDenied", "Access Denied")
	}
	for _, name := range append(slices.Clone(formAuth), "key") {
		if !has(name) {
			shown := name
			if strings.HasPrefix(name, "x-amz-") {
				shown = http.CanonicalHeaderKey(name)
			}
			return s, invalidArgument("Bucket POST must contain a field named '"+shown+"'.  "+
				"If it is specified, please check the order of the fields.", shown, "")
		}
	}
	if name := f.fields["x-amz-algorithm"]; name != algorithm {
		return s, invalidArgument("Only AWS4-HMAC-SHA256 is supported", "X-Amz-Algorithm", name)
	}
	var err error
	date := f.fields["x-amz-date"]
	if s.time, err = parseISO(date); err != nil {
		return s, invalidArgument("X-Amz-Date must be formated via ISO8601 Long format", "X-Amz-Date", date)
	}
	s.hex, s.token = f.fields["x-amz-signature"], f.fields["x-amz-security-token"]
	return s.parseCredential(f.fields["x-amz-credential"])
}

// expand puts the name of the file in place of ${filename} in every field, and
// takes the bucket for one: a policy names it as if it were.
func (f *postForm) expand(bucket string) error {
	if named, ok := f.fields["bucket"]; ok && named != bucket {
		return conditionFailed("eq", "$bucket", bucket)
	}
	f.fields["bucket"] = bucket
	if f.filename == nil {
		return nil
	}
	const variable = "${filename}"
	name := (*f.filename)[strings.LastIndexAny(*f.filename, `/\`)+1:] // some browsers give a path
	size := 0
	for field, value := range f.fields {
		if size += strings.Count(value, variable) * len(name); size > maxFields {
			return errFields
		}
		f.fields[field] = strings.ReplaceAll(value, variable, name)
	}
	return nil
}

// openFile finds the length of the file, which multipart/form-data does not say.
// The rest of a short form is read and what follows the file ignored, as S3 does.
// Of a longer one it is taken that nothing follows but the last boundary; the
// file proves wrong at its end if that is not so.
func (f *postForm) openFile() error {
	if f.body.left > maxBuffered {
		f.length = f.body.left - int64(len("\r\n--"+f.boundary+"--\r\n"))
		f.file = &formFile{postForm: f, left: f.length}
		return nil
	}
	content, err := io.ReadAll(f.part) //nolint:forbidigo // maxBuffered limits it
	if err == nil {
		_, err = f.reader.NextRawPart()
	}
	if err == nil || err == io.EOF { //nolint:errorlint // a wrapped end is a fault
		_, err = io.Copy(io.Discard, f.body)
	}
	if err != nil {
		return f.fault(err, errForm)
	}
	f.length, f.file = int64(len(content)), bytes.NewReader(content)
	return nil
}

// request returns the form as a request: fields that stand for headers are, and
// the file is the body.
func (f *postForm) request(r *http.Request, t target, sig signature) (*Request, error) {
	header, err := f.header()
	if err != nil {
		return nil, err
	}
	payload, err := payloadHash(header, true)
	if err != nil {
		return nil, err
	}
	declared, err := parseDeclaration(r, header, payload, true, false)
	if err != nil {
		return nil, err
	}
	declared.length = f.length
	operationOnly(header, false)
	if origin, ok := r.Header["Origin"]; ok {
		header["Origin"] = origin // it tells who may read the answer, and nothing about the form
	}
	body := &Body{declaration: declared, src: f.file}
	body.addDigests()
	r.Body = http.NoBody
	return &Request{
		AccessKeyID: sig.accessKeyID,
		Path:        t.path,
		Query:       t.query(),
		Header:      header,
		Form:        f.fields,
		Body:        body,
	}, nil
}

// header returns the fields that stand for headers. An empty one is none, but
// for metadata.
func (f *postForm) header() (http.Header, error) {
	h := make(http.Header)
	for name, value := range f.fields {
		if slices.Contains(formAuth, name) {
			continue
		}
		if other, ok := formNames[name]; ok {
			name = other
		}
		if !strings.HasPrefix(name, "x-amz-") && !slices.Contains(formHeaders, name) {
			continue
		}
		if value == "" && !strings.HasPrefix(name, "x-amz-meta-") {
			continue
		}
		key := http.CanonicalHeaderKey(name)
		if _, ok := h[key]; ok || strings.ContainsFunc(name, notToken) || strings.ContainsFunc(value, notText) {
			return nil, invalidArgument("The form field cannot be a header.", name)
		}
		h[key] = []string{value}
	}
	return h, nil
}

// formBody is the body of a form on its way to a multipart.Reader. In front of
// the file it gives single bytes, so that the reader never holds more than it
// needs and left tells how much there is from the file on.
type formBody struct {
	src    *bufio.Reader
	left   int64 // bytes, of what Content-Length says
	fields int   // bytes that may come before the file; negative: it has begun
	err    error // what the body ended with
}

func (b *formBody) Read(p []byte) (int, error) {
	if b.fields == 0 {
		b.err = errFields
		return 0, b.err
	}
	if b.fields > 0 {
		p = p[:min(len(p), 1)]
	}
	n, err := b.src.Read(p)
	b.left -= int64(n)
	if b.fields > 0 {
		b.fields -= n
	}
	b.err = err
	return n, err
}

// formFile is a file that is as long as it was taken to be, and the last field;
// or reading it ends with an error.
type formFile struct {
	*postForm

	left int64
}

func (f *formFile) Read(p []byte) (int, error) {
	n, err := f.part.Read(p)
	f.left -= int64(n)
	if err == io.EOF && f.left == 0 { //nolint:errorlint // a wrapped end is a fault
		if _, err = f.reader.NextRawPart(); err == nil {
			err = errFormEnd
		}
	}
	switch {
	case err == io.EOF && f.left == 0: //nolint:errorlint // a wrapped end is a fault
		return n, io.EOF
	case err == nil && f.left >= 0:
		return n, nil
	}
	return 0, f.fault(err, errFormEnd)
}
