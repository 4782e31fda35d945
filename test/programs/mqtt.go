package programs

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

type mqttClient struct {
	client   mqtt.Client
	messages chan string
	lost     chan error
	n        int
}

func dialMQTT(_ context.Context, dial Dialer, address string) (Client, error) {
	c := &mqttClient{messages: make(chan string, 16), lost: make(chan error, 1)}
	o := mqtt.NewClientOptions().AddBroker("tcp://" + address).SetClientID("beats").SetAutoReconnect(false).
		SetKeepAlive(patience).SetPingTimeout(patience).SetWriteTimeout(patience).
		SetConnectionLostHandler(func(_ mqtt.Client, err error) { c.lost <- err }).
		SetCustomOpenConnectionFn(func(_ *url.URL, _ mqtt.ClientOptions) (net.Conn, error) {
			return dial(context.Background(), "tcp", address)
		})
	c.client = mqtt.NewClient(o)
	if t := c.client.Connect(); !t.WaitTimeout(10*time.Second) || t.Error() != nil {
		return nil, errors.Join(t.Error(), errors.New("connecting"))
	}
	t := c.client.Subscribe("beats", 1, func(_ mqtt.Client, m mqtt.Message) { c.messages <- string(m.Payload()) })
	if !t.WaitTimeout(10*time.Second) || t.Error() != nil {
		return nil, errors.Join(t.Error(), c.Close(), errors.New("subscribing"))
	}
	return c, nil
}

func (c *mqttClient) Beat(ctx context.Context) error {
	c.n++
	t := c.client.Publish("beats", 1, false, fmt.Sprint(c.n))
	if !t.WaitTimeout(patience) || t.Error() != nil {
		return errors.Join(t.Error(), errors.New("publishing"))
	}
	select {
	case m := <-c.messages:
		if m != fmt.Sprint(c.n) {
			return fmt.Errorf("message %s came for %d", m, c.n)
		}
		return nil
	case err := <-c.lost:
		return fmt.Errorf("the connection: %w", err)
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *mqttClient) Close() error {
	c.client.Disconnect(100)
	return nil
}
