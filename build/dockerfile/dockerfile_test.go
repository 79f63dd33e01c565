package dockerfile

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

const digest = "@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// Each file and the images that it names, each with its line.
func TestImages(t *testing.T) {
	for _, c := range []struct {
		name, file string
		options    Options
		want       string
	}{
		{"one", "FROM alpine" + digest, Options{}, "1 alpine" + digest},
		{"lower case, tabs, CRLF, BOM", "\ufeff# c\r\n\r\n\tfrom\t a:1 \tas  Build\r\ncopy --from=BUILD / /\r\n", Options{}, "3 a:1"},
		{"stages and scratch", "FROM a AS x\nFROM x AS y\nFROM scratch\nCOPY --from=y / /\nCOPY --from=0 / /", Options{}, "1 a"},
		{"a stage is known by its name only behind it", "FROM b AS c\nFROM a\nFROM c\n", Options{}, "1 b, 2 a"},
		{"a stage with its image's name", "FROM alpine AS alpine\nFROM alpine\nCOPY --from=alpine / /", Options{}, "1 alpine"},
		{"the same twice", "FROM a\nFROM a\n", Options{}, "1 a"},
		{"copied from a later stage is no image", "FROM a\nCOPY --from=late / /\nFROM b AS late", Options{}, "1 a, 3 b"},
		{"platform of the builder", "FROM --platform=$BUILDPLATFORM golang:1 AS b\nFROM scratch", Options{}, "1 golang:1"},
		{"copy and mount", "FROM a\nCOPY --chown=1 --from=b:1 / /\nRUN --mount=type=cache,target=/c --mount=type=bind,from=c:1,target=/x make\n", Options{}, "1 a, 2 b:1, 3 c:1"},
		{"mount with quotes and capitals", `FROM a` + "\n" + `RUN --mount="type=bind,From=c:1,target=/a b" make`, Options{}, "1 a, 2 c:1"},
		{"a flag behind the command is none", "FROM a\nRUN make --mount=from=b\nCOPY x --from=c\nRUN -- --mount=from=d", Options{}, "1 a"},
		{"ONBUILD is not ours", "FROM a\nONBUILD COPY --from=b / /\n", Options{}, "1 a"},
		{"continuation", "FROM \\\n  a \\\n# a comment\n\n AS x\nRUN a && \\\n  # from here\n  b \\\\\nCOPY --from=y / /", Options{}, "1 a, 9 y"},
		{"continued with blanks behind", "FROM \\  \t\n  a", Options{}, "1 a"},
		{"FROM in a continued line", "FROM a\nRUN x \\\nFROM b\n", Options{}, "1 a"},
		{"escape", "# escape=`\nFROM `\n a\nRUN dir C:\\\nFROM b\n", Options{}, "2 a, 5 b"},
		{"escape is no directive behind a comment", "# hello\n# escape=`\nFROM \\\n a\n", Options{}, "3 a"},
		{"here-document", "FROM a\nRUN <<EOF\nFROM b\nEOF\nRUN <<-'E O' cat <<\"X\"\nCOPY --from=c\n\tE O\nFROM d\nX\nCOPY <<E /f\nFROM e\nE\nFROM f", Options{}, "1 a, 13 f"},
		{"no here-document", "FROM a\nRUN echo \"<<EOF\"\nRUN [\"<<EOF\"]\nENV x=<<EOF\nFROM b\n", Options{}, "1 a, 5 b"},
		{"a line that does not split has none", "FROM a\nRUN ${x[0]} <<EOF\nFROM b", Options{}, "1 a, 3 b"},
		{"here-document under ONBUILD", "FROM a\nONBUILD RUN <<EOF\nFROM b\nEOF\n", Options{}, "1 a"},

		{"argument", "ARG V=3\nFROM alpine:$V", Options{}, "2 alpine:3"},
		{"argument given", "ARG V=3\nFROM alpine:${V}", Options{Args: map[string]string{"V": "4"}}, "2 alpine:4"},
		{"given without a default", "ARG BASE\nFROM $BASE", Options{Args: map[string]string{"BASE": "a" + digest}}, "2 a" + digest},
		{"argument of an argument", "ARG R=r.io V=\"1\"\nARG I=$R/a:${V}\nFROM ${I}", Options{}, "3 r.io/a:1"},
		{"used before it is overwritten", "ARG V=1\nARG W=$V\nARG V=2\nFROM a:$W$V", Options{}, "4 a:12"},
		{"a default in place", "FROM ${X:-a}:${Y-b}${Z:+c}${Q+d}", Options{}, "1 a:b"},
		{"empty counts as none with a colon", "ARG X=\nFROM a${X:-b}${X-c}${X:+d}${X+e}", Options{}, "2 abe"},
		{"what is not used needs no value", "ARG X=1\nFROM a:${X:-$NO}${NO:+$NO}", Options{}, "2 a:1"},
		{"nested", "FROM ${A:-${B:-${C:-x}}}", Options{}, "1 x"},
		{"quotes and escapes", `ARG V='$x'` + "\n" + `FROM "a":\b'c'"\$V"`, Options{}, "2 a:bc$V"},
		{"an argument of a stage is none of the next", "ARG V=1\nFROM a AS x\nARG V=2\nFROM b:$V", Options{}, "2 a, 4 b:1"},
		{"platforms", "FROM base-${TARGETARCH} AS x", Options{Platforms: []string{"linux/amd64", "linux/arm64"}}, "1 base-amd64, 1 base-arm64"},
		{"a stage for each platform", "FROM a AS base-amd64\nFROM b AS base-arm64\nFROM base-$TARGETARCH", Options{Platforms: []string{"linux/amd64", "linux/arm64/v8"}}, "1 a, 2 b"},
		{"variants", "ARG TARGETVARIANT\nFROM $TARGETOS/$TARGETARCH$TARGETVARIANT-${TARGETPLATFORM}", Options{Platforms: []string{"linux/arm"}}, "2 linux/armv7-linux/arm/v7"},
		{"the target", "FROM a:$TARGETSTAGE AS x", Options{Target: "x"}, "1 a:x"},

		{"no frontend", "# syntax=docker/dockerfile:1\nFROM a", Options{}, "2 a"},
		{"frontend", "# syntax = docker/dockerfile:1 x\nFROM a", Options{Frontend: true}, "1 docker/dockerfile:1, 2 a"},
		{"frontend behind a shebang", "#!/usr/bin/env docker\n#syntax=f\nFROM a", Options{Frontend: true}, "2 f, 3 a"},
		{"frontend given", "# syntax=x\nFROM a", Options{Frontend: true, Args: map[string]string{"BUILDKIT_SYNTAX": "y"}}, "1 y, 2 a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			images, err := Images([]byte(c.file), c.options)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, i := range images {
				got = append(got, fmt.Sprintf("%d %s", i.Line, i.Reference))
			}
			if strings.Join(got, ", ") != c.want {
				t.Errorf("%s\nwant %s", strings.Join(got, ", "), c.want)
			}
		})
	}
}

func TestMistakes(t *testing.T) {
	for _, c := range []struct{ name, file, want string }{
		{"nothing", "", "line 1: has no FROM"},
		{"comments only", "# a\n# b\n", "line 2: has no FROM"},
		{"no value", "FROM a\nFROM b:$V", "line 2: FROM b:$V: V has no value; give it one under args, or a default with ARG before the first FROM"},
		{"no default", "ARG V\nFROM b:${V}", "line 2: FROM b:${V}: V has no value"},
		{"through another", "ARG V\nARG W=$V-x\nFROM b:$W", "line 3: FROM b:$W: V has no value"},
		{"a stage's argument", "FROM a\nARG V=1\nFROM b:$V", "line 3: FROM b:$V: V has no value"},
		{"required", "FROM ${V:?no}", "line 1: FROM ${V:?no}: V has no value"},
		{"empty", "ARG V=\nFROM $V", "line 2: FROM $V names no image: it is empty"},
		{"the builder's platform", "FROM a-$BUILDARCH", "line 1: FROM a-$BUILDARCH: BUILDARCH is the machine's that builds, and differs from one to the next"},
		{"the builder's platform with a default", "FROM a-${BUILDARCH:-x}", "BUILDARCH is the machine's"},
		{"no platforms", "FROM a-$TARGETARCH", "TARGETARCH is not known; list the platforms of the component"},
		{"patterns", "ARG V=1.2\nFROM a:${V%.*}", "${V%…} is not understood here; write the value out"},
		{"open", "FROM a:${V", "does not end"},
		{"open quote", `FROM "a`, "does not end"},
		{"no name", "FROM a${}", "a ${ without a name"},
		{"three words", "FROM a b c", "line 1: FROM has an image and nothing else but AS and a name"},
		{"nothing behind it", "FROM", "FROM has an image"},
		{"stage name", "FROM a AS 1", `"1" is no name for a stage`},
		{"variable in --from", "FROM a\nCOPY --from=$X / /", "line 2: COPY from $X: no variable can stand there; name a stage that starts FROM it"},
		{"no such stage", "FROM a\nCOPY --from=7 / /", "line 2: COPY from 7 is no stage before this one"},
		{"mount from a number", "FROM a\nRUN --mount=from=0,target=/x y", "RUN from 0 is no stage"},
		{"mount", "FROM a\nRUN --mount='\"x' y", "is not written key=value"},
		{"before FROM", "RUN x\nFROM a", "line 1: RUN stands before the first FROM"},
		{"unknown instruction", "FROM a\nINCLUDE b", `line 2: has the instruction "INCLUDE", which is not known here`},
		{"open here-document", "FROM a\nRUN <<EOF\nFROM b\n", "line 2: the here-document EOF does not end"},
		{"escape", "# escape=x\nFROM a", "line 1: escape is ` or \\, not \"x\""},
		{"twice", "# escape=\\\n# Escape=`\nFROM a", "line 2: has a second directive escape"},
		{"JSON", `{"syntax": "x"}`, "is not known here"},
		{"syntax as in C", "// syntax=x\nFROM a", "is not known here"},
		{"growth without limit", "ARG A=xxxxxxxxxxxxxxxx\n" + strings.Repeat("ARG A=$A$A$A$A$A$A$A$A\n", 40) + "FROM $A", "longer than any reference"},
		{"depth without limit", "FROM " + strings.Repeat("${A:-", 10000), "too deep"},
	} {
		t.Run(c.name, func(t *testing.T) {
			images, err := Images([]byte(c.file), Options{})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, %v\nwant %s", images, err, c.want)
			}
		})
	}
}

// Whatever stands in a file: no panic, no end that never comes, and an image has a
// name and a line that is there.
func FuzzImages(f *testing.F) {
	f.Add("# syntax=a\nARG A=${B:-c}\nFROM --platform=$BUILDPLATFORM a:$A AS b\nRUN --mount=from=b x <<E \\\n# c\nE\nCOPY --from=0 \"a\"", "linux/arm64")
	f.Add("# escape=`\nFROM a`\n b", "")
	f.Add("FROM ${a:?b} \\", "linux")
	// Long files take time in proportion to their length.
	for _, unit := range []string{"FROM a AS b\n", "FROM a\nRUN <<E\nE\n", "ARG a$a=$a\n", "ARG x=$y$x\n", "FROM a\nRUN x \\\n", "FROM a\nRUN << ${a:-", "FROM <<\"$"} {
		f.Add(strings.Repeat(unit, 20_000), "linux/arm64")
	}
	f.Fuzz(func(t *testing.T, file, platform string) {
		images, err := Images([]byte(file), Options{Platforms: []string{platform}, Frontend: true})
		if err != nil && images != nil {
			t.Errorf("%v and %v", images, err)
		}
		lines := strings.Count(file, "\n") + 1
		for i, image := range images {
			if image.Reference == "" || image.Line < 1 || image.Line > lines || slices.ContainsFunc(images[:i], func(other Image) bool { return other.Reference == image.Reference }) {
				t.Errorf("%d: %+v", i, image)
			}
		}
	})
}
