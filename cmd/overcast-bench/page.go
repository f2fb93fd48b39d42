// SPDX-License-Identifier: Apache-2.0

package main

import (
	"html/template"
	"strings"
)

// pageTemplate is the page of a report. It refers to nothing outside itself.
var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"groups": func(r *report) []string { return r.groups() },
	"panels": func(r *report, group string) []panel { return r.panels(group) },
	"draw":   func(p panel) template.HTML { return template.HTML(p.svg()) },
}).Parse(`<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>overcast-bench {{.Benchmark}}</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #24292f; max-width: 56rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2.5rem }
table { border-collapse: collapse } td, th { text-align: left; padding: .2rem 1rem .2rem 0; vertical-align: top }
th { color: #6a737d; font-weight: 500 } .no { color: #b35900; font-weight: 600 } svg { max-width: 100%; height: auto }
</style>
<h1>overcast-bench {{.Benchmark}}{{if .Quick}} (quick: tendencies, not figures){{end}}</h1>
<table>
<tr><th>Machine<td>{{.Machine.CPU}}, {{.Machine.CPUs}} CPUs, {{.Machine.MemoryMiB}} MiB
<tr><th>Kernel<td>{{.Machine.Kernel}}, BPF JIT {{.Machine.JIT}}, clock {{.Machine.Clock}}
<tr><th>Spectre v2<td>{{.Machine.Mitigation}}
<tr><th>Congestion control<td>{{.Machine.Congestion}}
<tr><th>Versions<td>overcast {{.Machine.Overcast}}, {{.Machine.Go}}
<tr><th>Measured<td>{{.Started.Format "2006-01-02 15:04"}} to {{.Finished.Format "15:04"}} UTC, {{.Rounds}} rounds, medians with their 95% interval
</table>
{{if .Verdicts}}<h2>Against the marks</h2>
<table>
<tr><th>Figure<th>Measured<th>Must<th><th>Aim<th>
{{range .Verdicts}}<tr><td>{{.Name}}<td>{{.Text}}<td>{{.Must}}<td>{{if .Must}}{{if .Holds}}yes{{else}}<span class="no">no</span>{{end}}{{end}}<td>{{.Aim}}<td>{{if .Aim}}{{if .Aimed}}yes{{else}}<span class="no">no</span>{{end}}{{end}}
{{end}}</table>{{end}}
{{$r := .}}{{range $group := groups .}}<h2>{{$group}}</h2>
{{range panels $r $group}}{{draw .}}
{{end}}{{end}}
{{if .Notes}}<h2>How to read it</h2>{{range .Notes}}<p>{{.}}{{end}}{{end}}
</html>
`))

// page is a report as one page.
func (r *report) page() string {
	var b strings.Builder
	if err := pageTemplate.Execute(&b, r); err != nil {
		panic(err) // the template is fixed, and fits the report
	}
	return b.String()
}
