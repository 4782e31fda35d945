package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// MaxCommand is the largest encoded command, in bytes.
const MaxCommand = 1 << 20

// envelope is a command as it travels and as it lies in the log.
type envelope struct {
	ID   string          `json:"id"`
	Kind Kind            `json:"kind"`
	Body json.RawMessage `json:"body"`
}

// Encode returns the command in an envelope with the ID of its proposal, see [Machine.ApplyOnce].
func Encode(id string, c Command) ([]byte, error) {
	if reason := checkName("ID of the command", id); reason != "" {
		return nil, errors.New(reason)
	}
	body, err := marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encoding %s: %w", c.Kind(), err)
	}
	data, err := marshal(envelope{ID: id, Kind: c.Kind(), Body: body})
	if err != nil {
		return nil, fmt.Errorf("encoding the envelope of %s: %w", c.Kind(), err)
	}
	if len(data) > MaxCommand {
		return nil, fmt.Errorf("%s takes %d bytes, more than the limit of %d", c.Kind(), len(data), MaxCommand)
	}
	return data, nil
}

// Decode reads what Encode wrote, and nothing else: an unknown kind or field, or anything after the
// envelope, is an error. The command keeps no reference to data.
func Decode(data []byte) (id string, c Command, err error) {
	if len(data) > MaxCommand {
		return "", nil, fmt.Errorf("a command of %d bytes is larger than the limit of %d", len(data), MaxCommand)
	}
	e, err := strict[envelope](data)
	if err != nil {
		return "", nil, fmt.Errorf("decoding the envelope of a command: %w", err)
	}
	if reason := checkName("ID of the command", e.ID); reason != "" {
		return "", nil, errors.New(reason)
	}
	c, err = e.command()
	if err != nil {
		return "", nil, fmt.Errorf("decoding command %s: %w", e.ID, err)
	}
	return e.ID, c, nil
}

func (e envelope) command() (Command, error) {
	switch e.Kind {
	case KindRegisterNode:
		return strict[RegisterNode](e.Body)
	case KindForgetNode:
		return strict[ForgetNode](e.Body)
	case KindLabelNode:
		return strict[LabelNode](e.Body)
	case KindCordonNode:
		return strict[CordonNode](e.Body)
	case KindSetMesh:
		return strict[SetMesh](e.Body)
	case KindCreateToken:
		return strict[CreateToken](e.Body)
	case KindUseToken:
		return strict[UseToken](e.Body)
	case KindRevokeToken:
		return strict[RevokeToken](e.Body)
	case KindCreatePod:
		return strict[CreatePod](e.Body)
	case KindMarkDeleting:
		return strict[MarkDeleting](e.Body)
	case KindDeleteVolume:
		return strict[DeleteVolume](e.Body)
	case KindStopPod:
		return strict[StopPod](e.Body)
	case KindDeletePod:
		return strict[DeletePod](e.Body)
	case KindReserve:
		return strict[Reserve](e.Body)
	case KindActivate:
		return strict[Activate](e.Body)
	case KindAbort:
		return strict[Abort](e.Body)
	case KindReturn:
		return strict[Return](e.Body)
	case KindComplete:
		return strict[Complete](e.Body)
	case KindReign:
		return strict[Reign](e.Body)
	case KindFailover:
		return strict[Failover](e.Body)
	case KindAbortAndFailover:
		return strict[AbortAndFailover](e.Body)
	case KindStartOver:
		return strict[StartOver](e.Body)
	default:
		return nil, fmt.Errorf("unknown kind %.40q", string(e.Kind))
	}
}

// strict decodes exactly one JSON value without unknown fields.
func strict[T any](data []byte) (T, error) {
	var v T
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		return v, err
	}
	if _, err := d.Token(); err != io.EOF {
		return v, errors.New("something follows the value")
	}
	return v, nil
}

// marshal encodes without escaping HTML, so that a manifest's bytes stay what they are.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
