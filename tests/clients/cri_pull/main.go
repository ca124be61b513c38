// What a kubelet does to pull an image: CRI's PullImage at containerd's socket, with the login that a pull secret
// (.dockerconfigjson) holds for the image's registry.
//
//	cri-pull SOCKET IMAGE CONFIG.JSON
package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: cri-pull SOCKET IMAGE CONFIG.JSON")
		os.Exit(2)
	}
	if err := pull(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func pull(socket, image, config string) error {
	login, err := loginOf(image, config)
	if err != nil {
		return err
	}
	connection, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	deadline, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	answer, err := runtime.NewImageServiceClient(connection).PullImage(deadline, &runtime.PullImageRequest{
		Image: &runtime.ImageSpec{Image: image},
		Auth:  login,
	})
	if err == nil {
		fmt.Println(answer.ImageRef)
	}
	return err
}

func loginOf(image, config string) (*runtime.AuthConfig, error) {
	content, err := os.ReadFile(config)
	if err != nil {
		return nil, err
	}
	var secret struct {
		Auths map[string]struct{ Auth string }
	}
	if err := json.Unmarshal(content, &secret); err != nil {
		return nil, err
	}
	host, _, _ := strings.Cut(image, "/")
	decoded, err := base64.StdEncoding.DecodeString(secret.Auths[host].Auth)
	user, password, _ := strings.Cut(string(decoded), ":")
	return &runtime.AuthConfig{Username: user, Password: password}, err // as a kubelet: no server address
}
