package peer

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const (
	// mounted is where a folder of this machine is seen inside.
	mounted = "/mnt"
	// mirror is for machines whose own is not Debian's.
	mirror = "http://deb.debian.org/debian"
)

// chroot is a small Debian in a folder.
type chroot struct{ root string }

// get makes it with a package, where it is not there.
func (c chroot) get(ctx context.Context, suite, wanted string) error {
	if _, err := os.Stat(c.root); err == nil {
		return nil
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("only root can make and enter a Debian %s with %s", suite, wanted)
	}
	for tool, from := range map[string]string{"debootstrap": "debootstrap", "unshare": "util-linux"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%s is not there: apt-get install %s", tool, from)
		}
	}
	// It takes its name when it is whole.
	half := c.root + ".half"
	if err := os.RemoveAll(half); err != nil {
		return err
	}
	_, err := output(ctx, os.Environ(), "debootstrap", "--variant=minbase", "--include="+wanted,
		suite, half, ownMirror(ctx))
	if err != nil {
		return err
	}
	hosts := []byte("127.0.0.1 localhost\n")
	if err := os.WriteFile(filepath.Join(half, "etc", "hosts"), hosts, 0o644); err != nil {
		return err
	}
	return os.Rename(half, c.root)
}

// ownMirror is where this machine gets Debian from.
func ownMirror(ctx context.Context) string {
	said, err := output(ctx, os.Environ(), "apt-get", "indextargets", "--format", "$(REPO_URI)",
		"Origin: Debian", "Created-By: Packages")
	if err != nil {
		return mirror
	}
	for line := range strings.Lines(said) {
		if found := strings.TrimSpace(line); !strings.Contains(found, "security") {
			return found
		}
	}
	return mirror
}

// version of a package inside.
func (c chroot) version(name string) string {
	said, err := exec.Command("dpkg-query", "--admindir="+filepath.Join(c.root, "var/lib/dpkg"),
		"-W", "-f", "${source:Upstream-Version}", name).Output()
	if err != nil {
		return "unknown"
	}
	return string(said)
}

// within is a command that runs inside, with the folder at /mnt. Mounts are seen by it alone and go
// with it.
func (c chroot) within(folder string, words ...string) []string {
	script := `mount --bind "$1" "$0` + mounted + `" && mount -t proc proc "$0/proc" && ` +
		`root=$0 && shift && exec chroot "$root" "$@"`
	enter := []string{"unshare", "--mount", "--propagation", "private", "sh", "-c", script}
	return append(append(enter, c.root, folder), words...)
}
