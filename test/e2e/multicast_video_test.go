// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"overcast/test/lab"
)

// ffmpeg sends a video to a group. Two of eight guests play it, and their files
// are the video, whole; the other six see no frame of it.
func TestMulticastVideo(t *testing.T) {
	t.Parallel()
	for _, group := range []string{"ff05::45", "239.1.2.3"} {
		t.Run(group, func(t *testing.T) {
			t.Parallel()
			const seconds, rate, port = 6, 25, 5004
			p := newParty(t, lab.Options{Hosts: 3}, 9, "unknown_groups: drop")
			p.start()
			players, captures := p.pick(2, 6), make(map[*lab.Guest]*lab.Capture)
			var playing []*lab.Process
			url := "udp://" + netip.AddrPortFrom(netip.MustParseAddr(group), port).String()
			file := func(g *lab.Guest) string { return filepath.Join(p.Dir, g.Name+".ts") }
			for _, g := range p.guests {
				// It lets the stack choose the device.
				if err := g.AddRoute(lab.Route{To: netip.MustParsePrefix("224.0.0.0/4"), Device: lab.GuestDevice}); err != nil {
					t.Fatal(err)
				}
			}
			for _, g := range p.others(p.guest(1)) {
				captures[g] = p.capture(g)
			}
			for _, g := range players {
				// It ends when nothing has come for five seconds.
				player, err := g.StartLogged("ffmpeg.log", exec.Command("ffmpeg", "-v", "error", "-nostdin",
					"-i", url+"?timeout=5000000&fifo_size=50000", "-c", "copy", file(g)))
				if err != nil {
					t.Fatal(err)
				}
				playing = append(playing, player)
			}
			// They have joined when this gets there, and then nothing is lost.
			p.reaches(p.send(p.guest(1), group), players...)
			sender, err := p.guest(1).StartLogged("ffmpeg.log", exec.Command("ffmpeg", "-v", "error", "-nostdin", "-re",
				"-f", "lavfi", "-i", fmt.Sprintf("testsrc=size=320x240:rate=%d", rate), "-t", strconv.Itoa(seconds),
				"-c:v", "mpeg2video", "-g", "25", "-f", "mpegts", url+"?pkt_size=1316&ttl=4"))
			if err != nil {
				t.Fatal(err)
			}
			for _, process := range append(playing, sender) {
				p.eventually("the end of ffmpeg", func() bool { ended, _ := process.Ended(); return ended })
			}
			for _, g := range players {
				if n := p.videoFrames(file(g)); n != seconds*rate {
					t.Errorf("%s has played %d frames of %d", g.Name, n, seconds*rate)
				}
			}
			for g, c := range captures {
				if n := framesOf(c, port); n > 0 != slices.Contains(players, g) {
					t.Errorf("%s has seen %d frames of the video", g.Name, n)
				}
			}
			p.clean()
		})
	}
}

// videoFrames counts the frames of a video that can be decoded.
func (p *party) videoFrames(file string) int {
	p.t.Helper()
	out, err := exec.Command("ffprobe", "-v", "error", "-count_frames", "-show_entries", "stream=nb_read_frames", "-of", "json", file).CombinedOutput()
	if err != nil {
		p.t.Fatalf("ffprobe: %v\n%s", err, out)
	}
	var probe struct {
		Streams []struct {
			Frames string `json:"nb_read_frames"`
		}
	}
	if err := json.Unmarshal(out, &probe); err != nil || len(probe.Streams) != 1 {
		p.t.Fatalf("ffprobe %s: %v\n%s", file, err, out)
	}
	n, err := strconv.Atoi(probe.Streams[0].Frames)
	if err != nil {
		p.t.Fatalf("ffprobe %s: %v\n%s", file, err, out)
	}
	return n
}

// framesOf counts the captured UDP frames to a port.
func framesOf(c *lab.Capture, port int) int {
	n := 0
	for _, f := range c.Frames() {
		packet := gopacket.NewPacket(f.Data, layers.LayerTypeEthernet, gopacket.Default)
		if udp, ok := packet.Layer(layers.LayerTypeUDP).(*layers.UDP); ok && int(udp.DstPort) == port {
			n++
		}
	}
	return n
}
