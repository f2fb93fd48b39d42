// SPDX-License-Identifier: Apache-2.0

package loader

import "runtime/debug"

// stamped is the version that the Makefile gives to what it builds, by -X.
var stamped string

// Version is the version of this build: the module's, or the commit it was
// built from, as far as the build recorded them.
func Version() string {
	if stamped != "" {
		return stamped
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	version := info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && (version == "" || version == "(devel)") {
			return "devel-" + s.Value[:min(12, len(s.Value))]
		}
	}
	if version == "" {
		return "devel"
	}
	return version
}
