// Package deploy checks how Tollgate is deployed as containers, as far as that goes without a container engine: the Dockerfiles, the
// Compose project, the configuration of the engines and the Helm chart.
//
// The services run here as the images would run them: the same arguments, environment and secrets, taken from the files under test,
// on real engines that are configured by the files under test. What a container engine alone could tell (layers, mounts,
// networks) is left out.
package deploy
