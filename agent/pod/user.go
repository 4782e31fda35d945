package pod

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/user"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// identity is the user, and his groups, as whom a container's first process runs. What the manifest leaves open the image's
// USER says, as "name", "id", "name:group" or "id:gid"; names are those of the /etc/passwd and /etc/group in the root file
// system. As in Kubernetes a runAsUser without a runAsGroup gets the group of his entry there, 0 without one.
func (s security) identity(root, imageUser string) (specs.User, error) {
	passwd, err := readInRoot(root, "/etc/passwd", maxAccounts)
	if err != nil {
		return specs.User{}, fmt.Errorf("looking for the container's user: %w", err)
	}
	group, err := readInRoot(root, "/etc/group", maxAccounts)
	if err != nil {
		return specs.User{}, fmt.Errorf("looking for the container's groups: %w", err)
	}
	asked := imageUser
	if s.user != nil {
		asked = strconv.FormatInt(*s.user, 10)
	}
	found, err := user.GetExecUser(asked, nil, bytes.NewReader(passwd), bytes.NewReader(group))
	if err != nil {
		return specs.User{}, fmt.Errorf("the image's user %q: %w", imageUser, err)
	}
	if s.nonRoot && found.Uid == 0 {
		return specs.User{}, errors.New("runAsNonRoot forbids that it runs as root, and neither runAsUser nor the image's USER says otherwise")
	}
	u := specs.User{UID: uint32(found.Uid), GID: uint32(found.Gid)}
	if s.group != nil {
		u.GID = uint32(*s.group)
	}
	groups := []uint32{u.GID} // else a process that can set its groups could get rid of one that is denied something
	for _, id := range s.groups {
		groups = append(groups, uint32(id))
	}
	if !s.strictGroups {
		more, err := memberships(found.Uid, asked, passwd, group)
		if err != nil {
			return specs.User{}, err
		}
		groups = append(groups, more...)
	}
	slices.Sort(groups)
	u.AdditionalGids = slices.Compact(groups)
	return u, nil
}

// memberships are the groups whose members in /etc/group name the user.
func memberships(uid int, asked string, passwd, group []byte) ([]uint32, error) {
	name, _, _ := strings.Cut(asked, ":")
	if _, err := strconv.Atoi(name); err == nil || name == "" {
		users, err := user.ParsePasswdFilter(bytes.NewReader(passwd), func(u user.User) bool { return u.Uid == uid })
		if err != nil || len(users) == 0 {
			return nil, err
		}
		name = users[0].Name
	}
	groups, err := user.ParseGroupFilter(bytes.NewReader(group), func(g user.Group) bool {
		return slices.Contains(g.List, name) && 0 <= g.Gid && g.Gid <= math.MaxInt32
	})
	if err != nil {
		return nil, fmt.Errorf("reading the image's /etc/group: %w", err)
	}
	var ids []uint32
	for _, g := range groups {
		ids = append(ids, uint32(g.Gid))
	}
	return ids, nil
}
