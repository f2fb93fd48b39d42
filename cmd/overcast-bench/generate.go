// SPDX-License-Identifier: Apache-2.0

package main

//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -go-package main -target bpfel -cc clang -strip llvm-strip contender contender.bpf.c -- -O2 -g -fno-strict-aliasing -mcpu=v3 -Wall -Wextra -Werror -Wno-unused-parameter -I/usr/include/x86_64-linux-gnu
