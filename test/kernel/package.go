// SPDX-License-Identifier: Apache-2.0

// Package kernel boots kernels from their Debian packages under qemu and runs
// the project's programs and tests in them: the floor is what really runs.
package kernel

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// Cache is where tests keep kernels between runs, seen from their folders; `make
// clean` removes it.
const Cache = "../../build/kernels"

// Image is an unpacked kernel package.
type Image struct {
	Release string // as uname -r says it
	Dir     string // where it is unpacked
}

// Path is the kernel itself.
func (i Image) Path() string {
	return filepath.Join(i.Dir, "boot", "vmlinuz-"+i.Release)
}

// metaPackage depends on the newest kernel image of a Debian release.
const metaPackage = "linux-image-cloud-amd64"

var imageName = regexp.MustCompile(`linux-image-(\d+\.\d+\S*-cloud-amd64)`)

// backports are the kernels of Debian 12 that are not its own.
const backports = "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian bookworm-backports main\n"

// Fetch downloads and unpacks the newest packaged kernel of a series, such as
// 6.1, unless the cache folder has it. Two that fetch at once do not collide.
func Fetch(ctx context.Context, cache, series string) (Image, error) {
	cache, err := filepath.Abs(cache)
	if err != nil {
		return Image{}, fmt.Errorf("kernel cache: %w", err)
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return Image{}, fmt.Errorf("kernel cache: %w", err)
	}
	staged, err := os.MkdirTemp(cache, "staged-")
	if err != nil {
		return Image{}, fmt.Errorf("kernel cache: %w", err)
	}
	defer os.RemoveAll(staged)
	apt, release, err := find(ctx, staged, series)
	if err != nil {
		return Image{}, err
	}
	image := Image{Release: release, Dir: filepath.Join(cache, release)}
	if _, err := os.Stat(image.Path()); err == nil {
		return image, nil
	}
	if _, err := apt.run(ctx, "apt-get", "download", "linux-image-"+release); err != nil {
		return Image{}, err
	}
	debs, err := filepath.Glob(filepath.Join(staged, "*.deb"))
	if err != nil || len(debs) != 1 {
		return Image{}, fmt.Errorf("downloading the kernel %s: %d packages came: %w", release, len(debs), err)
	}
	unpacked := filepath.Join(staged, "unpacked")
	if _, err := output(ctx, staged, "dpkg-deb", "-x", debs[0], unpacked); err != nil {
		return Image{}, err
	}
	// Newer packages have their modules compressed.
	if _, err := output(ctx, unpacked, "find", "lib/modules", "-name", "*.ko.xz", "-exec", "xz", "-d", "{}", "+"); err != nil {
		return Image{}, err
	}
	if err := os.Rename(unpacked, image.Dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return Image{}, fmt.Errorf("kernel cache: %w", err)
	}
	return image, nil
}

// apt is the machine's packages, or those of another list, which the machine
// does not get to see.
type apt struct {
	dir     string
	options []string
}

func (a apt) run(ctx context.Context, program string, args ...string) (string, error) {
	return output(ctx, a.dir, program, append(append([]string{"-qq", "-o", "APT::Sandbox::User=root"}, a.options...), args...)...)
}

// listed is apt with packages of another list alone, kept in a folder.
func listed(dir, list string) (apt, error) {
	sources, lists := filepath.Join(dir, "sources.list"), filepath.Join(dir, "lists")
	if err := errors.Join(os.WriteFile(sources, []byte(list), 0o644), os.MkdirAll(filepath.Join(lists, "partial"), 0o755)); err != nil {
		return apt{}, fmt.Errorf("list of packages: %w", err)
	}
	a := apt{dir: dir}
	for _, option := range []string{"Dir::Etc::sourcelist=" + sources, "Dir::Etc::sourceparts=/dev/null",
		"Dir::State::lists=" + lists, "Dir::Cache::pkgcache=", "Dir::Cache::srcpkgcache="} {
		a.options = append(a.options, "-o", option)
	}
	return a, nil
}

// find asks apt for the newest kernel of a series, first among the machine's
// packages as they are, then as they are today, then among the backports.
func find(ctx context.Context, dir, series string) (apt, string, error) {
	own := apt{dir: dir}
	if release, err := own.newest(ctx, series); err == nil {
		return own, release, nil
	}
	others, err := listed(dir, backports)
	if err != nil {
		return own, "", err
	}
	var problems []error
	for _, a := range []apt{own, others} {
		// A fresh machine has no lists yet.
		if _, err := a.run(ctx, "apt-get", "update"); err != nil {
			problems = append(problems, err)
			continue
		}
		release, err := a.newest(ctx, series)
		if err == nil {
			return a, release, nil
		}
		problems = append(problems, err)
	}
	return own, "", errors.Join(problems...)
}

// newest is the newest kernel of a series in apt's lists.
func (a apt) newest(ctx context.Context, series string) (string, error) {
	text, err := a.run(ctx, "apt-cache", "depends", metaPackage)
	if err != nil {
		return "", err
	}
	for _, match := range imageName.FindAllStringSubmatch(text, -1) {
		if strings.HasPrefix(match[1], series+".") {
			return match[1], nil
		}
	}
	return "", fmt.Errorf("no kernel %s among apt's packages, where %s says:\n%s", series, metaPackage, text)
}

// output runs a program and returns what it printed.
func output(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	text, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, text)
	}
	return string(text), nil
}
