-- read_owned(user_ids, record_ids...) no-writes
--
-- Read the records among these that belong to one of these users.
--
-- user_ids  separated by spaces; '*' for all users
--
-- Returns {code, now, '', [view or {record, fields}, '' if it is another user's, 0 if it is missing, {id} if it is
-- unreadable]}, in the order of the ids

local is_owner = {}
for user_id in string.gmatch(user_ids, '%S+') do
    is_owner[user_id] = true
end
local function read_one(id)
    local subject = SUBJECTS[string.sub(id, 1, 4)]
    local user_id = fields(subject.kind, id, 'user')
    if not user_id then
        return 0
    elseif not (is_owner['*'] or is_owner[user_id]) then
        return ''
    end
    return subject.read(id)
end

return {'ok', at, '', read_each(record_ids, read_one)}
