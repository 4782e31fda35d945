package programs

import (
	"context"
	"fmt"
	"net"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
)

type postgresClient struct {
	conn *pgx.Conn
	n    int64
}

func dialPostgres(ctx context.Context, dial Dialer, address string) (Client, error) {
	config, err := pgx.ParseConfig("postgres://postgres@" + address + "/postgres?sslmode=disable")
	if err != nil {
		return nil, err
	}
	config.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		return dial(ctx, network, address)
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	for _, sql := range []string{
		"create table beats (n bigint); insert into beats values (0)",
		// Some megabytes in the buffers that its processes share.
		"create table filler as select i, md5(i::text) from generate_series(1, 20000) i",
	} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			_ = conn.Close(ctx)
			return nil, err
		}
	}
	return &postgresClient{conn: conn}, nil
}

func (c *postgresClient) Beat(ctx context.Context) error {
	c.n++
	var n, filled int64
	err := c.conn.QueryRow(ctx, "update beats set n = n + 1 returning n, (select count(*) from filler where i % 1000 = n % 1000)").Scan(&n, &filled)
	if err != nil {
		return err
	}
	if n != c.n || filled != 20 {
		return fmt.Errorf("the counter is %d and should be %d; %d of 20 rows", n, c.n, filled)
	}
	return nil
}

func (c *postgresClient) Close() error { return c.conn.Close(context.Background()) }

type mariadbClient struct {
	conn pinned
	n    int64
}

func dialMariaDB(ctx context.Context, dial Dialer, address string) (Client, error) {
	config := mysql.NewConfig()
	config.User, config.Net, config.Addr = "root", "tcp", address
	config.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		return dial(ctx, network, address)
	}
	conn, err := openMySQL(ctx, config)
	if err != nil {
		return nil, err
	}
	for _, sql := range []string{"create database beats", "create table beats.beats (n bigint) engine=innodb", "insert into beats.beats values (0)"} {
		if err := conn.exec(ctx, sql); err != nil {
			_ = conn.Close()
			return nil, err
		}
	}
	return &mariadbClient{conn: conn}, nil
}

func (c *mariadbClient) Beat(ctx context.Context) error {
	c.n++
	if err := c.conn.exec(ctx, "update beats.beats set n = n + 1"); err != nil {
		return err
	}
	n, err := c.conn.query(ctx, "select n from beats.beats")
	if err != nil {
		return err
	}
	if n != c.n {
		return fmt.Errorf("the counter is %d and should be %d", n, c.n)
	}
	return nil
}

func (c *mariadbClient) Close() error { return c.conn.Close() }
