-- read_mock_inbox(keys=[journal], args=[user, most])
--
-- Read the newest messages of the mock inbox of a user.
--
-- Returns {code, now, '', [milliseconds, a space, message]}, newest first
--@include base

return {'ok', at, '', redis.call('LRANGE', key('mock:inbox', ARGV[1]), 0, tonumber(ARGV[2]) - 1)}
