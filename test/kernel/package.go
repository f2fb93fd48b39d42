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

// Fetch downloads and unpacks the newest packaged kernel of a series, such as
// 6.1, unless the cache folder has it. Two that fetch at once do not collide.
func Fetch(ctx context.Context, cache, series string) (Image, error) {
	cache, err := filepath.Abs(cache)
	if err != nil {
		return Image{}, fmt.Errorf("kernel cache: %w", err)
	}
	release, err := newest(ctx, series)
	if err != nil {
		return Image{}, err
	}
	image := Image{Release: release, Dir: filepath.Join(cache, release)}
	if _, err := os.Stat(image.Path()); err == nil {
		return image, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return Image{}, fmt.Errorf("kernel cache: %w", err)
	}
	staged, err := os.MkdirTemp(cache, "staged-")
	if err != nil {
		return Image{}, fmt.Errorf("kernel cache: %w", err)
	}
	defer os.RemoveAll(staged)
	if _, err := output(ctx, staged, "apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", "linux-image-"+release); err != nil {
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
	if err := os.Rename(unpacked, image.Dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return Image{}, fmt.Errorf("kernel cache: %w", err)
	}
	return image, nil
}

// newest asks apt for the newest kernel of a series.
func newest(ctx context.Context, series string) (string, error) {
	for attempt := 0; ; attempt++ {
		text, err := output(ctx, "", "apt-cache", "depends", metaPackage)
		for _, match := range imageName.FindAllStringSubmatch(text, -1) {
			if strings.HasPrefix(match[1], series+".") {
				return match[1], nil
			}
		}
		if attempt > 0 {
			return "", fmt.Errorf("no kernel %s among apt's packages (%s): %w\n%s", series, metaPackage, err, text)
		}
		// A fresh machine has no lists yet.
		if _, err := output(ctx, "", "apt-get", "update", "-qq"); err != nil {
			return "", err
		}
	}
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
