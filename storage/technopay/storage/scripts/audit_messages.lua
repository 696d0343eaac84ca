-- audit_messages(keys=[journal], args=[ids...])
--
-- Read the records of messages, at one position of the journal.
--
-- Returns {code, now, '', position, [{status or '', on the agenda, whether the journal has its entry}]}
--@include base
--@include position

local found = {}
for i, id in ipairs(ARGV) do
    found[i] = {
        fields('message', id, 'status') or '',
        redis.call('ZSCORE', key('agenda'), 'msg_' .. id) and 1 or 0,
        #redis.call('XRANGE', KEYS[1], id, id),
    }
end
return {'ok', at, '', position(), found}
