package proxy

import (
	"encoding/xml"
	"net/http"
	"net/url"
	"strings"
)

// deleteBucket passes on. To the client what uploads keep below the reserved prefix is not there, so it must not keep an
// empty bucket alive: S3 deletes a bucket together with the uploads in progress there.
func (p *Proxy) deleteBucket(q *request) error {
	failure := p.removeBucket(q)
	if !hasCode(failure, "BucketNotEmpty") {
		return failure
	}
	own := q.internal(q.ctx, q.target)
	if clear, err := p.onlyReserved(own, "", true); err != nil || !clear {
		return failure
	}
	entries, err := p.listVersions(own, reservedPrefix)
	if err != nil {
		return err
	}
	if err := p.removeVersions(own, entries); err != nil {
		return err
	}
	return p.removeBucket(q)
}

func (p *Proxy) removeBucket(q *request) error {
	defer p.defaults.Remove(q.target.bucket) // the next bucket of this name has nothing of it
	resp, err := p.sendBuffered(q, nil)
	if err != nil {
		return err
	}
	if err := q.expect(resp, http.StatusNoContent, http.StatusOK); err != nil {
		return err
	}
	return closing(resp, q.reply(http.StatusNoContent, nil))
}

// defaultRegion is the region that S3 gives no name in a bucket's location.
const defaultRegion = "us-east-1"

// bucketLocation answers with the region that clients must sign for, since they ask in order to do so. The store may be in another.
func (p *Proxy) bucketLocation(q *request) error {
	resp, err := p.sendBuffered(q, nil)
	if err != nil {
		return err
	}
	type location struct {
		XMLName xml.Name `xml:"LocationConstraint"`
		Xmlns   string   `xml:"xmlns,attr"`
		Region  string   `xml:",chardata"`
	}
	if err := q.readResult(resp, "LocationConstraint", new(location)); err != nil {
		return err
	}
	result := location{Xmlns: s3Namespace}
	if p.cfg.Region != defaultRegion {
		result.Region = p.cfg.Region
	}
	return q.replyXML(result)
}

// onlyReserved reports whether own's bucket has no key with the prefix but the proxy's: neither the first one nor any behind
// those is another's. Where old is set, older versions and delete markers count.
func (p *Proxy) onlyReserved(own *request, prefix string, old bool) (bool, error) {
	for _, marker := range []string{"", pastReserved} {
		query := url.Values{"prefix": {prefix}, "max-keys": {"1"}, "list-type": {"2"}, "start-after": {marker}}
		if old {
			query = url.Values{"prefix": {prefix}, "max-keys": {"1"}, "versions": {""}, "key-marker": {marker}}
		}
		page, err := p.listVersionPage(own, query)
		if err != nil {
			return false, err
		}
		for _, v := range page.entries() {
			if !strings.HasPrefix(v.Key, reservedPrefix) {
				return false, nil
			}
		}
	}
	return true, nil
}
