// SPDX-License-Identifier: Apache-2.0

package maps

import "overcast/bpf"

// chunksOf is how many chunks a list of so many has. One whose last chunk is
// full ends with an empty one.
func chunksOf(ids int) int {
	return ids/bpf.ChunkSize + 1
}

// putList adds the chunks of a list.
func putList(floods map[bpf.FloodKey]bpf.Flood, list uint32, ids []uint32) {
	for chunk := range chunksOf(len(ids)) {
		flood := bpf.Flood{Total: uint32(len(ids))}
		flood.Count = uint32(copy(flood.Id[:], ids[chunk*bpf.ChunkSize:]))
		floods[bpf.FloodKey{List: list, Chunk: uint32(chunk)}] = flood
	}
}
