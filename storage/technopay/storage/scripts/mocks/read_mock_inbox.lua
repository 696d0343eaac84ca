-- read_mock_inbox(user_id, limit) no-writes
--
-- Read the newest messages of the mock inbox of a user.
--
-- Returns {code, now, '', [milliseconds, a space, message]}, newest first

return {'ok', at, '', redis.call('LRANGE', key('mock:inbox', user_id), 0, tonumber(limit) - 1)}
