// A Go peer: gin with gorilla/sessions, kept in Redis by redistore over redigo. One command a check: its pool asks
// a connection whether it lives only after a minute's rest, where redistore's own would ask before each command.
//
// Usage: gin ADDRESS REDIS_ADDRESS
package main

import (
	"log"
	"net/http"
	"os"
	"time"

	"github.com/boj/redistore"
	"github.com/gin-gonic/gin"
	"github.com/gomodule/redigo/redis"
	"github.com/gorilla/securecookie"
	"github.com/gorilla/sessions"
)

const (
	cookieName      = "session"
	maxAgeSeconds   = 3600
	idleConnections = 64
)

// Answer has the fields of a check in the order of the others' bodies.
type Answer struct {
	Authenticated bool `json:"authenticated"`
	UserID        int  `json:"user_id"`
	Degraded      bool `json:"degraded"`
	ExpiresIn     int  `json:"expires_in"`
}

func main() {
	address, redisAddress := os.Args[1], os.Args[2]
	store, err := redistore.NewRediStoreWithPool(pool(redisAddress), securecookie.GenerateRandomKey(32))
	if err != nil {
		log.Fatal(err)
	}
	store.SetSerializer(redistore.JSONSerializer{})
	store.SetMaxAge(maxAgeSeconds)

	gin.SetMode(gin.ReleaseMode)
	router := gin.New()
	router.Use(gin.Recovery())
	router.POST("/login", func(c *gin.Context) { signIn(c, store) })
	router.GET("/api/auth/check", func(c *gin.Context) { check(c, store) })
	log.Fatal(http.ListenAndServe(address, router))
}

func pool(address string) *redis.Pool {
	return &redis.Pool{
		MaxIdle:     idleConnections,
		IdleTimeout: 240 * time.Second,
		Dial:        func() (redis.Conn, error) { return redis.Dial("tcp", address) },
		TestOnBorrow: func(c redis.Conn, lastUsed time.Time) error {
			if time.Since(lastUsed) < time.Minute {
				return nil
			}
			_, err := c.Do("PING")
			return err
		},
	}
}

func signIn(c *gin.Context, store sessions.Store) {
	var payload map[string]interface{}
	if err := c.BindJSON(&payload); err != nil {
		return
	}
	session, err := store.Get(c.Request, cookieName)
	if err != nil {
		c.AbortWithError(http.StatusInternalServerError, err)
		return
	}
	for key, value := range payload {
		session.Values[key] = value
	}
	if err := session.Save(c.Request, c.Writer); err != nil {
		c.AbortWithError(http.StatusInternalServerError, err)
		return
	}
	c.Status(http.StatusNoContent)
}

func check(c *gin.Context, store sessions.Store) {
	session, err := store.Get(c.Request, cookieName)
	if err != nil {
		c.AbortWithError(http.StatusInternalServerError, err)
		return
	}
	user, isSignedIn := session.Values["user_id"].(float64)
	if !isSignedIn {
		c.Status(http.StatusUnauthorized)
		return
	}
	c.Header("Cache-Control", "no-store")
	c.JSON(http.StatusOK, Answer{Authenticated: true, UserID: int(user), ExpiresIn: maxAgeSeconds - 1})
}
