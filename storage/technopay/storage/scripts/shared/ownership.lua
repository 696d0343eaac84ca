-- ownership: which records a read shows.

-- Whether a record exists for a user, or for an operator, whose id is ''. Only the owner is read: so a request for
-- another user's record takes as long as one for a record that does not exist.
local function is_shown_to(user_id, kind, id)
    local owner = fields(kind, id, 'user')
    return owner and (user_id == '' or owner == user_id)
end
