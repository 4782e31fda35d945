package criu

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/encoding/protowire"
)

// filesImage has an entry for each open file. Its format: criu/include/magic.h, images/fdinfo.proto and timerfd.proto.
const (
	filesImage   = "files.img"
	commonMagic  = 0x54564319
	filesMagic   = 0x56303138
	timerField   = 12 // file_entry.tfd
	settimeField = 6  // timerfd_entry.settime_flags
)

// errImage says that an image is not what CRIU writes.
var errImage = errors.New("not an image of open files")

// relativeTimers lets a restore arm timerfds by what is left of their time. An image holds that, and says of a timer that was
// set to an absolute time so; to restore such a one CRIU 4.2 adds the clock's seconds without their fraction (timerfd_arm in
// pie/restorer.c). It would fire up to a second before it is due, and even if it was not armed. Done again it does nothing.
func relativeTimers(images string) error {
	path := filepath.Join(images, filesImage)
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil // CRIU will complain
	}
	if err != nil {
		return err
	}
	flags, err := absoluteTimers(data)
	if err != nil || len(flags) == 0 {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, at := range flags { // a byte each, so that an agent that is killed leaves a whole image
		if _, err := f.WriteAt([]byte{0}, int64(at)); err != nil {
			return fmt.Errorf("changing %s: %w", path, err)
		}
	}
	return nil
}

// absoluteTimers returns where in an image of open files the flags of timers stand that are TFD_TIMER_ABSTIME alone. One that
// a change of the wall clock cancels has to stay absolute.
func absoluteTimers(data []byte) (offsets []int, err error) {
	if len(data) < 8 || binary.LittleEndian.Uint32(data) != commonMagic || binary.LittleEndian.Uint32(data[4:]) != filesMagic {
		return nil, errImage
	}
	for at := 8; at < len(data); {
		if len(data)-at < 4 {
			return nil, errImage
		}
		size := int(binary.LittleEndian.Uint32(data[at:]))
		at += 4
		if size > len(data)-at {
			return nil, errImage
		}
		err := fields(data[at:at+size], at, func(field protowire.Number, start, end int) error {
			if field != timerField {
				return nil
			}
			timer, n := protowire.ConsumeBytes(data[start:end])
			if n < 0 {
				return errImage
			}
			return fields(timer, end-len(timer), func(field protowire.Number, start, end int) error {
				if field == settimeField && end-start == 1 && data[start] == unix.TFD_TIMER_ABSTIME {
					offsets = append(offsets, start)
				}
				return nil
			})
		})
		if err != nil {
			return nil, err
		}
		at += size
	}
	return offsets, nil
}

// fields calls visit with each field of a message that stands at an offset, and where its value does.
func fields(message []byte, offset int, visit func(field protowire.Number, start, end int) error) error {
	for at := 0; at < len(message); {
		field, kind, n := protowire.ConsumeTag(message[at:])
		if n < 0 {
			return errImage
		}
		at += n
		size := protowire.ConsumeFieldValue(field, kind, message[at:])
		if size < 0 {
			return errImage
		}
		if err := visit(field, offset+at, offset+at+size); err != nil {
			return err
		}
		at += size
	}
	return nil
}
