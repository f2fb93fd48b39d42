// SPDX-License-Identifier: Apache-2.0

package lab

//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -go-package lab -target bpfel -cc clang -strip llvm-strip -type cloud_class -type cloud_addr -type cloud_fault cloud cloud.bpf.c -- -O2 -g -fno-strict-aliasing -mcpu=v3 -Wall -Wextra -Werror -Wno-unused-parameter -I/usr/include/x86_64-linux-gnu
