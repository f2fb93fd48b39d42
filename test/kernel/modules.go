// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
)

// Modules returns the files of these modules and of those they need, in the
// order in which they can be loaded. A kernel that has one built in has no
// file for it, and it is left out.
func (i Image) Modules(names ...string) ([]string, error) {
	files := make(map[string]string)
	root := filepath.Join(i.Dir, "lib", "modules", i.Release)
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if name, ok := strings.CutSuffix(filepath.Base(path), ".ko"); ok {
			files[moduleName(name)] = path
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("modules of %s: %w", i.Release, err)
	}
	var order []string
	var add func(name string) error
	add = func(name string) error {
		path, ok := files[moduleName(name)]
		if !ok || slices.Contains(order, path) {
			return nil
		}
		needs, err := moduleDepends(path)
		if err != nil {
			return err
		}
		for _, need := range needs {
			if err := add(need); err != nil {
				return err
			}
		}
		order = append(order, path)
		return nil
	}
	for _, name := range names {
		if err := add(name); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// moduleName makes names comparable: the kernel takes dashes for underscores.
func moduleName(name string) string {
	return strings.ReplaceAll(name, "-", "_")
}

// moduleDepends reads which modules a module needs. modules.dep would say it
// too, but is made only when the package is installed.
func moduleDepends(path string) ([]string, error) {
	file, err := elf.Open(path)
	if err != nil {
		return nil, fmt.Errorf("module %s: %w", path, err)
	}
	defer file.Close()
	section := file.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("module %s has no .modinfo", path)
	}
	info, err := section.Data()
	if err != nil {
		return nil, fmt.Errorf("module %s: %w", path, err)
	}
	for _, field := range bytes.Split(info, []byte{0}) {
		if list, ok := bytes.CutPrefix(field, []byte("depends=")); ok && len(list) > 0 {
			return strings.Split(string(list), ","), nil
		}
	}
	return nil, nil
}
