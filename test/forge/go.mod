module github.com/pin-cmp/pin-cmp/test/forge

go 1.26.0

replace github.com/pin-cmp/pin-cmp => ../..

require github.com/pin-cmp/pin-cmp v0.0.0-00010101000000-000000000000

require go.yaml.in/yaml/v3 v3.0.6 // indirect
