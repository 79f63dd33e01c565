package serve

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc"

	"github.com/pin-cmp/pin-cmp/internal/argocd"
	"github.com/pin-cmp/pin-cmp/internal/plugin/pluginpb"
	"github.com/pin-cmp/pin-cmp/verify"
	"github.com/pin-cmp/pin-cmp/verify/presence"
)

// options announces the parameters that an Application may set.
func options() []*pluginpb.ParameterAnnouncement {
	block := func(name, example string) *pluginpb.ParameterAnnouncement {
		return &pluginpb.ParameterAnnouncement{
			Name: name, Title: name,
			Tooltip:  fmt.Sprintf("the YAML of spec.source.%s, as Argo CD documents it; for example %s", name, example),
			ItemType: "string", CollectionType: "string",
		}
	}
	return []*pluginpb.ParameterAnnouncement{
		block(argocd.ParameterKustomize, "namePrefix: eu-"),
		block(argocd.ParameterDirectory, "recurse: true"),
	}
}

// GetParametersAnnouncement implements the protocol: what the user interface
// shows about an Application is its options, and its images with what the gate
// says of them.
func (s *service) GetParametersAnnouncement(stream grpc.ClientStreamingServer[pluginpb.AppStreamRequest, pluginpb.ParametersAnnouncementResponse]) error {
	began := time.Now()
	ctx, cancel := s.bounded(stream.Context())
	defer cancel()
	r := &record{}
	share := s.memory.join()
	defer share.give()
	refused := s.check(ctx, stream, share, r)
	r.log(s, "parameters", began, refused)
	if refused != nil && (refused.result == resultInvalid || refused.result == resultCancelled) {
		return refused.err()
	}
	var images *pluginpb.ParameterAnnouncement
	if refused != nil {
		images = announceImages(map[string]string{"": fit(refused.text)})
	} else {
		images = announceImages(imagesOf(r.outcome.Report))
	}
	response := &pluginpb.ParametersAnnouncementResponse{}
	response.ParameterAnnouncements = append(response.ParameterAnnouncements, images)
	response.ParameterAnnouncements = append(response.ParameterAnnouncements, options()...)
	response.ParameterAnnouncements = append(response.ParameterAnnouncements, s.o.Config.Announcements...)
	return stream.SendAndClose(response)
}

func announceImages(images map[string]string) *pluginpb.ParameterAnnouncement {
	return &pluginpb.ParameterAnnouncement{
		Name: "images", Title: "images (read only)",
		Tooltip:  "every image of this application and what the gate says of it; change them in the repository",
		ItemType: "string", CollectionType: "map", Map: images,
	}
}

// maxAnnounced bounds the images that the user interface is told.
const maxAnnounced = 500

// imagesOf returns the images by their reference without the digest, which
// would make every row too wide to read, and their digest and verdict.
func imagesOf(report *verify.Report) map[string]string {
	images := map[string]string{}
	for _, f := range report.Images {
		if len(images) == maxAnnounced {
			break
		}
		name, digest := splitDigest(f.Reference)
		key := verify.Printable(name)
		value := verdict(f)
		if digest != "" {
			value = digest + " " + value
		}
		// Two digests of one repository are two rows.
		for n := 2; images[key] != "" && images[key] != value; n++ {
			key = fmt.Sprintf("%s (%d)", verify.Printable(name), n)
		}
		images[key] = value
	}
	return images
}

func verdict(f verify.Finding) string {
	switch {
	case f.Verdict == verify.Passed && f.Presence == presence.Unchecked && f.Reason != "":
		return verify.Printable(f.Reason)
	case f.Verdict == verify.Passed:
		return string(f.Presence)
	case f.Verdict == verify.Undecided:
		return fmt.Sprintf("undecided: %s", verify.Printable(f.Reason))
	}
	return fmt.Sprintf("refused: %s", verify.Printable(f.Reason))
}

// splitDigest cuts a reference before its digest.
func splitDigest(reference string) (name, digest string) {
	if name, digest, ok := strings.Cut(reference, "@sha256:"); ok {
		return name, "sha256:" + digest
	}
	return reference, ""
}
