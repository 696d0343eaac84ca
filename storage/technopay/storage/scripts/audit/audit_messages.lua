-- audit_messages(record_ids...) no-writes
--
-- Read the records of messages, at one position of the journal.
--
-- Returns {code, now, '', position, [{{status, channel, attempts, error}, on the agenda, whether the journal has its
-- entry}], {id} for an unreadable one}

local function read_one(id)
    return {
        {fields('message', id, 'status', 'channel', 'attempts', 'last_error')},
        redis.call('ZSCORE', key('agenda'), 'msg_' .. id) and 1 or 0,
        #redis.call('XRANGE', journal, id, id),
    }
end

return {'ok', at, '', position(), read_each(record_ids, read_one)}
