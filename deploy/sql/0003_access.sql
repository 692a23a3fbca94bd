-- What goes beyond one role for each member and a switch for each feature: further roles, roles in
-- teams, grants and denials, stages, what an organization asks of its members, settings of features.

alter table tollgate.organizations
    -- One of the `stages` of the gateway's policies.
    add column if not exists stage text,
    -- Networks from which the organization is used; none: from all.
    add column if not exists addresses cidr[] not null default '{}',
    -- Roles of which a second factor is asked; `*` stands for everybody.
    add column if not exists second_factor text[] not null default '{}',
    -- How long members stay signed in at most.
    add column if not exists session_age interval
        constraint organizations_session_age_is_ahead check (session_age > interval '0');

alter table tollgate.organization_features
    -- Texts by name, for conditions such as `{ feature: analytics, settings: { tier: gold } }`.
    add column if not exists settings jsonb not null default '{}'
        constraint organization_features_settings_are_an_object
            check (jsonb_typeof(settings) = 'object');

alter table tollgate.organization_members
    -- Further roles in the whole organization.
    add column if not exists roles text[] not null default '{}',
    -- `resource:action` besides what the roles give, and what neither gives.
    add column if not exists grants text[] not null default '{}',
    add column if not exists denials text[] not null default '{}',
    add column if not exists stage text;

create table if not exists tollgate.organization_team_members (
    organization_id uuid not null,
    user_id text not null,
    -- `sales.north`, or the department `sales` for all of its teams.
    team text not null
        constraint organization_team_members_team_is_named
            check (team ~ '^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$' and length(team) <= 128),
    role text not null
        constraint organization_team_members_role_is_named check (role <> ''),
    created_at timestamptz not null default now(),
    primary key (organization_id, user_id, team, role),
    foreign key (organization_id, user_id)
        references tollgate.organization_members (organization_id, user_id) on delete cascade
);

create or replace trigger notify after insert or update or delete
    on tollgate.organization_team_members
    for each row execute function tollgate.notify_member();
create or replace trigger notify_truncate after truncate on tollgate.organization_team_members
    for each statement execute function tollgate.notify_all();
