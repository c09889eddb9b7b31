//go:build nodev

package main

var devCommands []command
