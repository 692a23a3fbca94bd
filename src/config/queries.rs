//! The directory queries that fit the schema in `deploy/sql`.
//!
//! May import nothing of other rooms.

use std::sync::Arc;

use super::settings::DirectoryQueries;

impl Default for DirectoryQueries {
    fn default() -> Self {
        let organization = |column: &str| -> Arc<str> {
            Arc::from(format!(
                "select o.id, o.slug, o.status, o.plan, o.stage, o.limits, o.time_zone, \
                 o.addresses::text[] as addresses, o.second_factor, \
                 extract(epoch from o.trusted_device)::bigint as trusted_device, \
                 extract(epoch from o.session_age)::bigint as session_age, \
                 extract(epoch from o.session_idle)::bigint as session_idle, \
                 array(select f.feature from tollgate.organization_features f \
                 where f.organization_id = o.id and f.enabled order by f.feature) as features, \
                 (select jsonb_object_agg(f.feature, f.settings) \
                 from tollgate.organization_features f \
                 where f.organization_id = o.id and f.enabled and f.settings <> '{{}}') \
                 as feature_settings \
                 from tollgate.organizations o where o.{column} = $1"
            ))
        };
        const MEMBER: &str = "select m.organization_id as organization, m.role, m.status, \
             extract(epoch from m.joined_at)::bigint as joined_at, \
             m.roles, m.grants, m.denials, m.stage, \
             extract(epoch from m.role_as_of)::bigint as role_as_of, \
             array(select t.team || ':' || t.role from tollgate.organization_team_members t \
             where t.organization_id = m.organization_id and t.user_id = m.user_id \
             order by t.team, t.role) as teams \
             from tollgate.organization_members m";
        Self {
            organization_by_id: organization("id"),
            organization_by_slug: organization("slug"),
            membership: Arc::from(format!(
                "{MEMBER} where m.user_id = $1 and m.organization_id = $2"
            )),
            default_membership: Arc::from(format!(
                "{MEMBER} join tollgate.organizations o on o.id = m.organization_id \
                 where m.user_id = $1 and m.status = 'active' and o.status = 'active' \
                 order by m.joined_at desc, m.organization_id limit 1"
            )),
            join: Arc::from(
                "insert into tollgate.organization_members \
                 (user_id, organization_id, role, roles, role_as_of) \
                 select $1, o.id, $3, $4, to_timestamp($5) from tollgate.organizations o \
                 where o.id = $2 and o.status = 'active' \
                 on conflict do nothing returning user_id",
            ),
            change_role: Arc::from(
                "update tollgate.organization_members \
                 set role = $3, roles = $4, role_as_of = to_timestamp($5) \
                 where user_id = $1 and organization_id = $2 and status = 'active' \
                 and (role_as_of is null or role_as_of < to_timestamp($5)) returning user_id",
            ),
            machine_key: Arc::from(
                "select k.organization_id as organization, k.name, k.hash, k.scopes, k.status, \
                 k.addresses::text[] as addresses, k.limit_name, \
                 ceil(extract(epoch from k.expires_at))::bigint as expires_at, \
                 k.previous_hash, \
                 ceil(extract(epoch from k.previous_until))::bigint as previous_until \
                 from tollgate.api_keys k where k.id = $1",
            ),
        }
    }
}
