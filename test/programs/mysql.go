package programs

import (
	"context"
	"database/sql"

	"github.com/go-sql-driver/mysql"
)

// pinned is the one connection of a pool.
type pinned struct {
	db   *sql.DB
	conn *sql.Conn
}

func openMySQL(ctx context.Context, config *mysql.Config) (pinned, error) {
	connector, err := mysql.NewConnector(config)
	if err != nil {
		return pinned{}, err
	}
	db := sql.OpenDB(connector)
	conn, err := db.Conn(ctx)
	if err != nil {
		_ = db.Close()
		return pinned{}, err
	}
	return pinned{db, conn}, nil
}

func (p pinned) exec(ctx context.Context, text string) error {
	_, err := p.conn.ExecContext(ctx, text)
	return err
}

func (p pinned) query(ctx context.Context, text string) (n int64, err error) {
	err = p.conn.QueryRowContext(ctx, text).Scan(&n)
	return n, err
}

func (p pinned) Close() error {
	_ = p.conn.Close() // the pool's Close closes it
	return p.db.Close()
}
