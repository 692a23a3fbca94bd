-- How long the session of a member may rest at most. Uses are noted once a minute, so that less than
-- two would count a session in use as one at rest.

alter table tollgate.organizations
    add column if not exists session_idle interval
        constraint organizations_session_idle_is_long_enough
            check (session_idle >= interval '2 minutes');
