-- list_records(keys=[journal], args=[kind, index, cursor, count])
--
-- List what an index holds, newest first: 'invoice' or 'payment' records.
--
-- index   the index's key without its tag, e.g. 'invoices:alice'
-- cursor  the id after which to go on, '' for the newest
--
-- Returns {code, now, '', [{id, fields}] or [view], next cursor}, with {id} for what cannot be read
--@include base
--@include each
--@include pack
--@include payment
--@include record
--@include invoice

local kind, index, cursor, count = unpack(ARGV, 1, 4)

local from = cursor == '' and '+' or '(' .. cursor
local ids = redis.call('ZREVRANGEBYLEX', key(index), from, '-', 'LIMIT', 0, count + 1)
local next_cursor = ''
if #ids > tonumber(count) then
    ids[#ids] = nil
    next_cursor = ids[#ids]
end

local function read_one(id)
    return kind == 'payment' and view(id) or {id, flat(read_invoice(id))}
end

local there = {}
for _, id in ipairs(ids) do
    if exists(kind, id) then
        there[#there + 1] = id
    end
end
return {'ok', at, '', read_each(there, read_one), next_cursor}
