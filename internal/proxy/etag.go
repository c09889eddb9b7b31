package proxy

import (
	"net/http"
	"strings"
)

// An object's ETag at the client is the store's, made recognizably not an MD5: many clients compare an ETag with the
// MD5 of what they sent unless it has a dash, and some read a number behind the dash. So a tag without a dash gets a
// suffix that is no number; one that already ends in the suffix gets another, which keeps the mapping one to one.
// It is text alone, needs no object, and so holds in every answer and lets the store decide every condition.
const (
	etagSuffix = "-sse"

	// foreignSuffix makes a client's tag that no object has here (the MD5 of a body, say) into one that no store makes:
	// sent as it stands, it could match a store's tag by accident, and with a bare etagSuffix that of a second proxy.
	foreignSuffix = "-foreign"
)

// clientETag maps a store's bare entity tag (no quotes, no W/) to the client's.
func clientETag(native string) string {
	if !strings.Contains(native, "-") || strings.HasSuffix(native, etagSuffix) {
		return native + etagSuffix
	}
	return native
}

// storeETag inverts clientETag. A tag that clientETag never returns gets one that no object at the store has.
func storeETag(tag string) string {
	if native, ok := strings.CutSuffix(tag, etagSuffix); ok && clientETag(native) == tag {
		return native
	}
	if clientETag(tag) == tag {
		return tag
	}
	return tag + foreignSuffix
}

// clientETagValue maps an ETag as headers and listings show it, quoted or bare, weak or not.
func clientETagValue(value string) string { return mapETags(value, clientETag) }

// storeCondition maps the value of an If-Match or If-None-Match header: a list of entity tags, which S3 also takes
// without quotes, or "*".
func storeCondition(value string) string { return mapETags(value, storeETag) }

// storeIfRange maps the value of an If-Range header: an entity tag or a date (RFC 9110, section 13.1.5).
func storeIfRange(value string) string {
	if _, err := http.ParseTime(strings.TrimSpace(value)); err == nil {
		return value
	}
	return mapETags(value, storeETag)
}

// mapETags applies f to each tag of a list and keeps every other byte. A quoted tag runs to the next quote (RFC 9110,
// section 8.8.3), or to the end if there is none; a bare one to the next comma or space; a bare "*" is no tag.
func mapETags(list string, f func(string) string) string {
	var out strings.Builder
	for list != "" {
		if strings.IndexByte(", \t", list[0]) >= 0 {
			out.WriteByte(list[0])
			list = list[1:]
			continue
		}
		rest, weak := strings.CutPrefix(list, "W/")
		if weak {
			out.WriteString("W/")
			list = rest
		}
		if rest, ok := strings.CutPrefix(list, `"`); ok {
			tag, after, closed := strings.Cut(rest, `"`)
			out.WriteString(`"` + f(tag))
			if closed {
				out.WriteByte('"')
			}
			list = after
			continue
		}
		end := strings.IndexAny(list, ", \t")
		if end < 0 {
			end = len(list)
		}
		tag := list[:end]
		if weak || tag != "*" {
			tag = f(tag)
		}
		out.WriteString(tag)
		list = list[end:]
	}
	return out.String()
}
