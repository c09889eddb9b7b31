package proxy

import (
	"bytes"
	"encoding/xml"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// postObject stores the file of a form that a browser has posted. What the form's fields say is in the headers by now; the
// store sees a PutObject.
func (p *Proxy) postObject(q *request) error {
	if q.form == nil {
		return newError("PreconditionFailed", "At least one of the pre-conditions you specified did not hold",
			errorField{"Condition", "Bucket POST must be of the enclosure-type multipart/form-data"})
	}
	key := q.form["key"]
	if key == "" {
		return newError("UserKeyMustBeSpecified", "The bucket POST request must contain a key that is not empty.")
	}
	if err := checkKey(key); err != nil {
		return err
	}
	if tagging := q.form["tagging"]; tagging != "" {
		tags, err := tagsHeader(tagging)
		if err != nil {
			return err
		}
		q.header.Set("X-Amz-Tagging", tags)
	}
	if err := p.askOrigin(q); err != nil {
		return err
	}
	q.target.key = key
	resp, err := p.put(q)
	if err != nil {
		return err
	}
	return closing(resp, q.replyPosted())
}

// askOrigin asks the store whether the page that posted the form may read the answer. The store is going to see a PUT, for
// which its rules may be others.
func (p *Proxy) askOrigin(q *request) error {
	origin, ok := q.header["Origin"]
	if !ok {
		return nil
	}
	header := http.Header{"Origin": origin, "Access-Control-Request-Method": {q.method}}
	resp, err := p.send(q, outgoing{method: http.MethodOptions, target: q.target, header: header, anonymous: true})
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusNoContent {
		delete(q.header, "Origin")
	}
	return resp.Body.Close()
}

// replyPosted answers a form in the way that it asks for.
func (q *request) replyPosted() error {
	h := q.w.Header()
	if to, ok := q.redirection(h.Get("Etag")); ok {
		h.Set("Location", to)
		h.Set("Content-Length", "0")
		return q.reply(http.StatusSeeOther, nil)
	}
	// S3 escapes slashes, too.
	h.Set("Location", strings.TrimSuffix(q.url, "/")+"/"+strings.ReplaceAll(url.QueryEscape(q.target.key), "+", "%20"))
	switch q.form["success_action_status"] {
	case "200":
		h.Set("Content-Length", "0")
		return q.reply(http.StatusOK, nil)
	case "201":
		return q.replyCreated()
	}
	return q.reply(http.StatusNoContent, nil)
}

// redirection returns where the browser goes on to, if the form has a URL for it that makes sense.
func (q *request) redirection(etag string) (string, bool) {
	to, ok := q.form["success_action_redirect"]
	if !ok {
		to = q.form["redirect"] // its older name
	}
	u, err := url.Parse(to)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", false
	}
	if u.RawQuery != "" {
		u.RawQuery += "&"
	}
	u.RawQuery += "bucket=" + url.QueryEscape(q.target.bucket) + "&key=" + url.QueryEscape(q.target.key) + "&etag=" + url.QueryEscape(etag)
	return u.String(), true
}

func (q *request) replyCreated() error {
	h := q.w.Header()
	body, err := xml.Marshal(struct {
		XMLName                     xml.Name `xml:"PostResponse"`
		Location, Bucket, Key, ETag string
	}{Location: h.Get("Location"), Bucket: q.target.bucket, Key: q.target.key, ETag: h.Get("Etag")})
	if err != nil {
		return err
	}
	h.Set("Content-Type", "application/xml")
	h.Set("Content-Length", strconv.Itoa(len(xml.Header)+len(body)))
	return q.reply(http.StatusCreated, io.MultiReader(strings.NewReader(xml.Header), bytes.NewReader(body)))
}

// tagsHeader turns the document that a form has for tags into the header that PutObject has for them.
func tagsHeader(document string) (string, error) {
	var tagging struct {
		Tags []struct{ Key, Value string } `xml:"TagSet>Tag"`
	}
	if err := xml.Unmarshal([]byte(document), &tagging); err != nil {
		return "", newError("MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema")
	}
	tags := make(url.Values)
	for _, tag := range tagging.Tags {
		tags.Add(tag.Key, tag.Value)
	}
	return strings.ReplaceAll(tags.Encode(), "+", "%20"), nil
}
