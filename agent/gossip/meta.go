package gossip

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/hashicorp/memberlist"
)

// metadata is what a node tells of itself beside its name and gossip address.
type metadata struct {
	Site    string
	QUIC    netip.AddrPort
	Version string
}

// metaFormat begins every encoding. Later versions may append fields, which this one ignores; what it couldn't
// understand would begin with another byte.
const metaFormat = 1

var errMeta = errors.New("metadata that this version doesn't understand")

// encodeMeta packs metadata into at most memberlist.MetaMaxSize (512) bytes:
//
//	u8 format | string site | string address | string version     (string: uvarint length, bytes)
//
// where address is netip.AddrPort's binary form.
func encodeMeta(m metadata) ([]byte, error) {
	addr, err := m.QUIC.MarshalBinary()
	if err != nil {
		return nil, err
	}
	b := []byte{metaFormat}
	for _, field := range [][]byte{[]byte(m.Site), addr, []byte(m.Version)} {
		b = binary.AppendUvarint(b, uint64(len(field)))
		b = append(b, field...)
	}
	if len(b) > memberlist.MetaMaxSize {
		return nil, fmt.Errorf("its site and version are too long: %d bytes of metadata, at most %d fit", len(b), memberlist.MetaMaxSize)
	}
	return b, nil
}

func decodeMeta(b []byte) (metadata, error) {
	if len(b) == 0 || b[0] != metaFormat {
		return metadata{}, errMeta
	}
	b = b[1:]
	var fields [3][]byte
	for i := range fields {
		n, size := binary.Uvarint(b)
		if size <= 0 || n > uint64(len(b)-size) {
			return metadata{}, errMeta
		}
		fields[i], b = b[size:size+int(n)], b[size+int(n):]
	}
	m := metadata{Site: string(fields[0]), Version: string(fields[2])}
	if err := m.QUIC.UnmarshalBinary(fields[1]); err != nil || !m.QUIC.IsValid() {
		return metadata{}, errMeta
	}
	return m, nil
}
