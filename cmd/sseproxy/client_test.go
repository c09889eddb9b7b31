package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// s3Main is the scripts' program s3: the AWS SDK as its environment configures it.
//
//	s3 put BUCKET KEY FILE [METADATA [CUSTOMER-KEY]]
//	s3 get BUCKET KEY
//	s3 ls BUCKET
//	s3 presign-put BUCKET KEY
//	s3 presign-get BUCKET KEY
func s3Main() { exit(s3Run(context.Background(), os.Args[1:])) }

// httpMain is the scripts' program http: it sends a request and prints the whole answer.
//
//	http METHOD URL [BODY]
func httpMain() { exit(httpRun(context.Background(), os.Args[1:])) }

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func s3Run(ctx context.Context, args []string) error {
	cfg, err := awsconfig.LoadDefaultConfig(ctx)
	if err != nil {
		return err
	}
	client := s3.NewFromConfig(cfg, func(o *s3.Options) {
		o.UsePathStyle, o.Retryer = true, aws.NopRetryer{}
		if strings.HasPrefix(args[0], "presign") {
			o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired // of a body that is not known
		}
	})
	args = append(args, "", "", "", "", "")
	verb, bucket, key := args[0], &args[1], &args[2]
	switch verb {
	case "ls":
		out, err := client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: bucket})
		if err != nil {
			return err
		}
		for _, o := range out.Contents {
			fmt.Println(*o.Size, *o.Key)
		}
		return nil
	case "put":
		f, err := os.Open(args[3])
		if err != nil {
			return err
		}
		in := &s3.PutObjectInput{Bucket: bucket, Key: key, Body: f, Metadata: map[string]string{"note": args[4]}}
		if args[5] != "" {
			in.SSECustomerAlgorithm, in.SSECustomerKey = aws.String("AES256"), &args[5]
		}
		_, err = client.PutObject(ctx, in)
		return errors.Join(err, f.Close())
	case "get":
		out, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: key})
		if err != nil {
			return err
		}
		_, err = io.Copy(os.Stdout, out.Body)
		return errors.Join(err, out.Body.Close())
	case "presign-put":
		out, err := s3.NewPresignClient(client).PresignPutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: key})
		return printURL(out.URL, err)
	case "presign-get":
		out, err := s3.NewPresignClient(client).PresignGetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: key})
		return printURL(out.URL, err)
	}
	return fmt.Errorf("s3 %s?", verb)
}

func printURL(url string, err error) error {
	if err == nil {
		_, err = fmt.Println(url)
	}
	return err
}

func httpRun(ctx context.Context, args []string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	args = append(args, "")
	req, err := http.NewRequestWithContext(ctx, args[0], args[1], strings.NewReader(args[2]))
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // the end
	b, err := httputil.DumpResponse(resp, true)
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(b)
	return err
}
