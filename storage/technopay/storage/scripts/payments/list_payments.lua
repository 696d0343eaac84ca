-- list_payments(user_id, cursor, limit, archived...) no-writes
--
-- List a user's payments, newest first; see shared/page.lua.
--
-- Returns {code, now, '', [view], next cursor}, {payment} for an unreadable one

return {'ok', at, '', list(key('payments', user_id), 'payment', cursor, limit, archived, view)}
