package sigv4

// An Error tells why a request is refused, in S3's terms. It has no HTTP status:
// that belongs to the code and is the server's to know.
type Error struct {
	// Code is S3's error code, such as SignatureDoesNotMatch.
	Code    string
	Message string
	// Fields are the further elements of S3's error document, in order. They
	// hold what the client itself sent, or what was made of it, and no secret.
	Fields []Field
}

// A Field is an element of S3's error document.
type Field struct{ Name, Value string }

// Error returns code and message. It leaves the fields out: they are for the
// client, not for logs.
func (e *Error) Error() string { return e.Code + ": " + e.Message }

func newError(code, message string, fields ...Field) error {
	return &Error{Code: code, Message: message, Fields: fields}
}

func invalidRequest(message string) error { return newError("InvalidRequest", message) }

// invalidArgument returns the error for an argument, with its value if it may be
// shown.
func invalidArgument(message, name string, value ...string) error {
	fields := []Field{{"ArgumentName", name}}
	for _, v := range value {
		fields = append(fields, Field{"ArgumentValue", v})
	}
	return newError("InvalidArgument", message, fields...)
}

func incompleteBody(message string) error { return newError("IncompleteBody", message) }
