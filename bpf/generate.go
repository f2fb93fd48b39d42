// SPDX-License-Identifier: Apache-2.0

// Package bpf holds the datapath: the C programs and the Go types, constants
// and loaders that are generated from them.
//
// The generated files are committed, so that building needs no clang. `make
// generate` makes them anew with Debian 12's clang 14.
package bpf

//go:generate go run drops_generate.go
//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -go-package bpf -target bpfel -cc clang -strip llvm-strip -type oc_addr -type oc_port -type oc_port_flags -type oc_vni -type oc_segment -type oc_segment_flags -type oc_vtep_key -type oc_vtep -type oc_path -type oc_path_flags -type oc_remote -type oc_kind -type oc_fdb_key -type oc_fdb_entry -type oc_fdb_slot -type oc_fdb_bucket -type oc_learned_entry -type oc_flood_key -type oc_flood -type oc_vni_flags -type oc_mdb_key -type oc_mdb_entry -type oc_group -type oc_snoop -type oc_event -type oc_neighbor_key -type oc_neighbor -type oc_learned_neighbor -type oc_class -type oc_neighbor_flags -type oc_governor -type oc_bucket -type oc_copy_count -type oc_counters -type oc_drop -type oc_drop_key -type oc_drop_count -type oc_strip overcast overcast.bpf.c -- -O2 -g -fno-strict-aliasing -mcpu=v3 -Wall -Wextra -Werror -Wno-unused-parameter -I/usr/include/x86_64-linux-gnu
