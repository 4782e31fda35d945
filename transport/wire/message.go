package wire

import (
	"encoding/json"
	"fmt"
	"io"
)

// Message is a frame whose payload is one JSON value.
type Message struct {
	Type Type
	Body json.RawMessage
}

// Decode stores the body in what v points to. Fields that v lacks are ignored, so that a newer peer may
// say more than this one understands; anything after the value is an error.
func (m Message) Decode(v any) error {
	if err := json.Unmarshal(m.Body, v); err != nil {
		return fmt.Errorf("decoding a message of type %d: %w", m.Type, err)
	}
	return nil
}

// WriteMessage writes v as a message.
func WriteMessage(w io.Writer, t Type, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encoding a message of type %d: %w", t, err)
	}
	return WriteFrame(w, t, body)
}

// ReadMessage reads one message of at most limit bytes. It returns io.EOF only if the stream ended before
// the message. The body is valid JSON.
func ReadMessage(r io.Reader, limit int) (Message, error) {
	t, body, err := ReadFrame(r, limit)
	if err != nil {
		return Message{Type: t}, err
	}
	if !json.Valid(body) {
		return Message{Type: t}, fmt.Errorf("message of type %d is not one JSON value", t)
	}
	return Message{Type: t, Body: body}, nil
}
