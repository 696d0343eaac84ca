-- search_users(user_id, status, failures_per_day, cursor, limit, archived...) no-writes
--
-- List users, newest first; '' for no filter. With a user it is the one that has this id. See shared/search.lua.
--
-- cursor  the last journal entry of the page before, '' for the first page
--
-- Returns {code, now, '', [{user, fields}], next cursor, [journal entry of each]}, {user} for an unreadable one

local function matching(id)
    local user = read_user(id, failures_per_day)
    if user and (status == '' or user.status == status) then
        return {id, flat(user)}
    end
    return nil
end

if user_id ~= '' then
    local found = {}
    add_matching(found, {}, user_id, '', matching)
    return {'ok', at, '', found, '', {}}
end
local users, next_cursor, places = search_journal('user.created', cursor, limit, archived, matching)
return {'ok', at, '', users, next_cursor, places}
