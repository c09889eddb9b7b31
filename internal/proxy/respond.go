package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sseproxy/sseproxy/internal/envelope"
	"github.com/sseproxy/sseproxy/internal/keys"
	"github.com/sseproxy/sseproxy/internal/sigv4"
)

// hostID stands where S3 names the machine that answered.
const hostID = "sseproxy"

// responseWriter remembers what went out.
type responseWriter struct {
	http.ResponseWriter
	patience *patience
	cors     *corsHeaders // go out with every answer
	status   int          // 0: nothing yet
	written  int64
	aborted  bool
}

func (w *responseWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
		w.cors.show(w.Header())
	}
	w.patience.write()
	w.ResponseWriter.WriteHeader(status)
}

func (w *responseWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	w.patience.write()
	n, err := w.ResponseWriter.Write(b)
	w.written += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController find the server's own writer.
func (w *responseWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// leaveTime is how long a client that has been refused may go on to send its body.
const leaveTime = 5 * time.Second

// leave makes the server answer at once, while the body is still to come, and end the connection in such a way that a
// client in the middle of sending sees the answer and no reset. By itself the server would first wait for some of the body,
// which a client that waits for 100 Continue does not send; or, if it knew of that, reset the connection, which loses the
// answer where the client does not wait after all. It lingers only where a body exceeded the limit of a MaxBytesReader.
func (w *responseWriter) leave() {
	exceeded := http.MaxBytesReader(w.ResponseWriter, io.NopCloser(strings.NewReader("x")), 0)
	_, _ = exceeded.Read(make([]byte, 1))
	_ = http.NewResponseController(w.ResponseWriter).SetReadDeadline(time.Now().Add(leaveTime)) // where there is one
}

// clientBody notes whether the server has read a request's body to its end.
type clientBody struct {
	io.ReadCloser
	patience *patience
	ended    atomic.Bool
}

func (b *clientBody) Read(p []byte) (int, error) {
	b.patience.read()
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		b.ended.Store(true)
		b.patience.readAll()
	}
	return n, err
}

// fail ends a request with its error: as S3's error document, also behind white space; or, when an answer is under way, by
// cutting the connection, so that nobody takes what was sent for the whole.
func (q *request) fail() {
	failure := q.failure()
	if q.alive && q.ctx.Err() == nil {
		if _, err := q.w.Write(failure.element(q.id, hostID)); err == nil {
			return
		}
	}
	if q.w.status != 0 || q.ctx.Err() != nil {
		q.w.aborted = true
		panic(http.ErrAbortHandler)
	}
	clear(q.w.Header())
	q.w.Header().Set("X-Amz-Request-Id", q.id)
	q.w.Header().Set("X-Amz-Id-2", hostID)
	if err := failure.writeTo(q.w, q.method, q.id, hostID); err != nil {
		q.w.aborted = true
		panic(http.ErrAbortHandler)
	}
}

// failure is what the client is told.
func (q *request) failure() *apiError {
	e := asAPIError(q.err)
	if errors.Is(q.err, errNoSuchUpload) {
		e = newError(e.Code, e.Message, errorField{"UploadId", q.query.Get("uploadId")})
	}
	for i, f := range e.Fields {
		// Of what the proxy keeps for itself the client has not asked.
		if f.Name == "Key" && strings.HasPrefix(f.Value, reservedPrefix) && !strings.HasPrefix(q.target.key, reservedPrefix) {
			told := *e
			told.Fields = slices.Clone(e.Fields)
			told.Fields[i].Value = q.target.key
			return &told
		}
	}
	return e
}

// asAPIError is the one place where errors of other packages get their S3 code.
func asAPIError(err error) *apiError {
	var api *apiError
	if errors.As(err, &api) {
		return api
	}
	var auth *sigv4.Error
	if errors.As(err, &auth) {
		e := newError(auth.Code, auth.Message)
		for _, f := range auth.Fields {
			e.Fields = append(e.Fields, errorField(f))
		}
		return e
	}
	for _, known := range failures {
		if errors.Is(err, known.cause) {
			e := newError(known.code, known.message)
			e.Detail = err.Error()
			return e
		}
	}
	return internalError("We encountered an internal error. Please try again.", err.Error())
}

const damaged = "The stored object failed its integrity check: it was altered at the store, or belongs to another name. Nothing of it was given out as good."

// failures says how the errors of the packages below look to a client.
var failures = []struct {
	cause         error
	code, message string
}{
	{envelope.ErrEnvelope, "InternalError", damaged},
	{envelope.ErrUnwrap, "InternalError", damaged},
	{envelope.ErrCustomerKey, "AccessDenied", customerFailed},
	{envelope.ErrTrailer, "InternalError", damaged},
	{envelope.ErrFrame, "InternalError", damaged},
	{envelope.ErrSize, "InternalError", damaged},
	{keys.ErrIntegrity, "InternalError", damaged},
	{keys.ErrNotFound, "KMS.NotFoundException", "The key that is to be used for this object does not exist."},
	{keys.ErrDisabled, "KMS.DisabledException", "The key that is to be used for this object is disabled."},
	{keys.ErrInvalidState, "KMS.KMSInvalidStateException", "The key that is to be used for this object is in a state that forbids its use."},
	{keys.ErrDenied, "AccessDenied", "The key provider denies the use of the key for this object."},
	{keys.ErrUnavailable, "SlowDown", "The key provider cannot be reached. Please try again."},
	{errAudit, "ServiceUnavailable", "The use of a key could not be recorded, so nothing was done. Please try again."},
	{errReplaced, "OperationAborted", "The object was replaced while it was read, again and again. Please try again."},
	{errStore, "ServiceUnavailable", "The store cannot be reached. Please try again."},
	{context.DeadlineExceeded, "ServiceUnavailable", "The store did not answer in time. Please try again."},
	{os.ErrDeadlineExceeded, "RequestTimeout", "Your socket connection to the server was not read from or written to within the timeout period."},
}

// reply sends a status with the headers already set and a body of n bytes.
func (q *request) reply(status int, body io.Reader) error {
	q.w.WriteHeader(status)
	if body == nil || q.method == http.MethodHead {
		return nil
	}
	_, err := io.Copy(q.w, body)
	return err
}
