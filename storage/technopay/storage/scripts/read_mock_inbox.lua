-- read_mock_inbox(keys=[journal], args=[user])
--
-- Read the mock inbox of a user.
--
-- Returns {code, now, '', [milliseconds, a space, message]}, newest first
--@include base

return {'ok', at, '', redis.call('LRANGE', key('mock:inbox', ARGV[1]), 0, -1)}
