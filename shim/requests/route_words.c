/* The words were chosen from general knowledge of interfaces over HTTP: what they offer, of which trades, and what is done
 * with it. Plurals and the commonest endings are found by rule. Left out on purpose: names of persons and places, and
 * nouns that occur in them (king, hill, rose), since those are what a variable looks like.
 */
#include "route_words.h"

#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

/* What is found beside a variable, /users/{id} and /users/search, and what begins such a word: /users/find-by-name. */
static const char verb_words[] =
	"add batch bulk by can cancel check count create delete download export find get has import is list lookup query remove "
	"search send set update upload validate verify ";

/* What is found beside a variable, but begins names as well. */
static const char action_words[] =
	"accept access acknowledge activate active activity aggregate all analyze any append apply approve archive "
	"assign attach authenticate authorize auto autocomplete available begin block browse calculate callback "
	"change claim clean clear clone close closed collect compare complete config configuration confirm connect "
	"convert copy csv current dashboard deactivate decline decrypt defaults deny deploy deregister describe "
	"destroy detach diff disable disconnect discover draft dump duplicate edit enable encrypt enroll evaluate "
	"exec execute exists expand featured feed fetch filter finish flush force forgot format generate grant "
	"grouped head health heartbeat history html id identify ignore index info init initialize inspect install "
	"invite invoke join json kill last latest leave link load lock login logout me merge meta metadata metrics "
	"migrate mine modify monitor move multi mute my name names new next notify now open optimize options "
	"overview own patch pause pending ping popular post predict preferences preview previous prune public "
	"publish pull purge push put random raw read ready rebuild recent recover refresh refund regenerate "
	"register reject reload rename renew reopen reorder repair replace replay rerun resend reset resize "
	"resolve restart restore resume retrieve retry revert revoke rotate run save scan schedule schema schemas "
	"scroll select self settings share sign signin signout signup simulate snapshot sort split start stat "
	"state statistics stats status stop stream submit subscribe suggest suggestions summary suspend swap "
	"switch sync tail terminate test top total track transfer translate trending trigger types unarchive "
	"unassign unblock undelete undo uninstall unlink unlock unmute unpause unpublish unread unregister "
	"unsubscribe upgrade upsert usage validation version view vote wait watch whoami write xml ";

static const char plain_words[] =
	"2fa abandoned abort about above absolute abstract abuse acceleration acceptance accepted accessibility "
	"account accounting accrual accurate ach achievement acl acls acme acquisition across actor actual ad "
	"adapter additional addon address adjustment admin admission ads advance advanced advertiser advertising "
	"advisory affiliate affinity after against agency agenda agent agile agreement ai air airline airport "
	"alarm album alert algorithm alias aliases allocation allowance alpha alternate alternative altitude "
	"amended amount analog analysis analytics anchor and android angle angular anniversary annotation "
	"announcement annual anomaly anonymous answer apache api apidocs apis app appliance applicant application "
	"appointment appraisal approval approved approver approximate apps architecture are area arena arg args "
	"around array arrival art article artifact artist as aspect assertion assessment asset assigned assignee "
	"assignment assistant associate associated association async at atmosphere atom attached attachment "
	"attempt attendance attendee attribute auction audience audio audit auth authentication author authored "
	"authority authorization automated automatic automation autoscaling avatar average award aware away aws "
	"axis azure b2b back backend background backup bad badge balance balancer bank banking banner barcode base "
	"base64 basic battery beacon bearer before behavior below benchmark beneficiary best beta better between "
	"bid big bill billing bin binary binding biology birthday bit blacklist blob blocklist blog blood board "
	"body bond bonus book booking bookmark boot bot bottom bounce bound box branch brand bridge brightness "
	"broadcast broker browser bucket budget buffer bug build builder bundle bus business button buyer byte "
	"cabin cache calculated calendar calibration call callee caller camera campaign canary canceled cancelled "
	"candidate capability capacity capital caption capture car carbon card care career cargo carrier cart case "
	"cash catalog category cdn cell central certificate certification certified cgi chain challenge champion "
	"changed changelog changes channel chapter charge chart chat checked checkout checkpoint checksum chemical "
	"child children choice chosen chunk ci cipher circle circuit cities city class classification classifier "
	"classify cli client climate clipboard clock cloud club cluster cms cname coach code codec cohort "
	"collaborator collateral collected collection collector color column combined command comment commenter "
	"commerce commission commit commitment committee commodity common communication community compact company "
	"compatible compensation competition competitor compile completed compliance component compute concept "
	"concert concurrent condition conditional conference connected connection connectivity connector consent "
	"consistency console consolidated constant constraint consumer contact container content contest context "
	"continue continuous contract contribution contributor control controller conversation conversion cookie "
	"coordinate coordinator copyright core correct cors cost counterparty countries country county coupon "
	"course court coverage cpu crash crawl crawler creator credential credit creditor crew critical cron cross "
	"crowd crypto css cube culture cumulative currency cursor curve custom customer cve cycle daemon daily "
	"dark data database dataset datasource datastore datatype date datetime day db dead deal dealer debate "
	"debit debt debug decision declaration decoded dedicated deduction deep default deferred definition delay "
	"delegate delegation deleted delivery demo denied department dependency dependent deployment deposit "
	"deprecated depth design desktop destination detail detailed detection detector dev developer development "
	"device diagnose diagnostic diagram dialog diameter diary dictionary different digest digital dimension "
	"direct direction directive director directory disabled discount discourse discovery discussion disk "
	"dispatch display dispute distance distinct distribution district divided dividend dm dns doc docker docs "
	"document documentation domain donation door dose down drained drive driver drop drug dry due duration "
	"duty dynamic each early earning earth easy ec2 echo economy edge editor editorial education effect "
	"elastic election electric electricity element elevation eligible email embed embedding emission emoji "
	"employee empty enabled encoding encryption end endpoint energy engagement engine enough enterprise "
	"entertainment entitlement entity entry enum env environment eot epic episode equal equation equipment "
	"equity error escalation escrow essay essential estate estimate etag ethernet evaluation event every "
	"evidence exact exam example exception exchange excise excluded execution executor exercise exhibit "
	"existing exit expanded expected expedition expense experiment experimental expert expiration expired "
	"explain explicit explore explorer express expression extended extension extensive external extra extract "
	"eye fabric face factor factory faculty failed failover failure fallback false family fan faq fare fast "
	"favicon favorite favourite fax feature federation fee feedback female few field file filesystem final "
	"finalized finance financial finding fingerprint fire firewall firmware first fiscal fitness fix fixed "
	"fixture flag flagged flat flavor flexible flight float floating flood flow folder follow follower "
	"following font food footer for forced forecast forex fork form formatted formula forum forward fragment "
	"frame framework franchise free freeze freight frequency friend friendship from front frontend fuel "
	"fulfilled fulfillment fulfilment full function functional fund funding further future gallery game garage "
	"gas gateway gauge gene general generated generator generic genome genre geo geocode geography geolocation "
	"geometry gif gift gist git github gitlab given global glossary go goal good google government gpu grade "
	"graph graphql gravity grid group grouping guarantee guard guest guide guild gz habit handle handler "
	"handling hard hardware hash header headline healthcheck healthz heat height helm help helper here hero "
	"hidden hierarchy high highlight hint historical hit hold holiday home hook host hosted hosting hostname "
	"hot hotel hour hourly household housing how hr htm html5 http http2 hub human humidity i18n ico icon idea "
	"identifier identity idp image immediate immutable impact implementation implicit impression in inactive "
	"inbound inbox incident include included income incoming incomplete increment indexed indicator individual "
	"industry influencer information ingest ingress ini initial inline inmate inner input inquiry inside "
	"insight inspector installment instance instant institution instruction instrument insurance int integer "
	"integration integrity intensity interaction interactive interest interface internal internet interval "
	"interview into introduction introspect introspection invalid inventory investment investor invitation "
	"invocation invoice involved io ios ip ips ipv4 ipv6 iso isolated issue issued it item iteration itinerary "
	"jar java javascript job joined journal journey jpeg jpg js jsx junior jwks jwt k8s kafka kept kernel key "
	"keyboard keypair keyring keyspace keyword kid kind kit kitchen knowledge known kube kubernetes kv kyc "
	"l10n lab label labor lambda land landing language large late latency later latitude launch lawyer layer "
	"layered layout lead leader leaderboard leaf league learning lease leased ledger left legacy legal lender "
	"length lens less lesson level liability library license lien lifecycle light like liked limit line "
	"lineage linked linux liquidity listed listen listener listing literature live loaded loan local locale "
	"localization location locked log logged logger logging logical logo long longitude loop low lower loyalty "
	"luggage magazine magnetic magnitude mail mailbox mailing main maintenance major maker male manage managed "
	"management manager mandate mandatory manifest manual manufacturer map mapped mapping margin mark marked "
	"marker market marketplace mask mass master match matching material matrix max maximum mcp md md5 meal "
	"mean measure measurement mech mechanism media median medical medication medium meeting member membership "
	"memo memory mention mentor menu merchandise merchant merged mesh message messaging metal meteor meter "
	"method metric microphone microservice middle middleware migration milestone mime min mineral minimum "
	"minor minute mirror missed missing mission mixed mixture mobile mock mode model moderation modified "
	"module molecule momentum month monthly mood more mortgage most motion mount mouse movie mp3 mp4 multipart "
	"multiple museum music mutation mutual mysql named namespace narrative national native navigation near "
	"nearby negative neighbor nested net network neural neutral news newsletter nginx nickname no node noise "
	"none normal not note notebook notice notification notified null nullable number nutrient oauth oauth2 "
	"object observability observation ocean of off offer offering office offline offset oidc old on onboarding "
	"once one online only op openapi openid opening openssl operate operation operator opinion opportunity opt "
	"optimal option optional or orbit orchestration order ordered org organ organisation organism organization "
	"origin original orphan os other out outage outbound outbox outcome outer outgoing outlet outlook output "
	"outstanding over overall overdue override owner ownership pack package packet page paid pair panel paper "
	"parallel param parameter parcel parent park parking parse parsed part partial participant particle "
	"partition partner party pass passenger passkey passport password paste path patient pattern paused pay "
	"payee payer payment payout payroll pdf peer penalty penpal pension people per percent percentage "
	"performance performer period permanent permission persistent person persona personal pharmacy phase phone "
	"photo photographer php physical pickup picture pilot pin pinned pipeline pivot pixel place placeholder "
	"placement plain plan planet planned planner plant plate platform play player playlist pledge plot plugin "
	"plus png pod podcast poem poet point policy poll pollution pool pop port portal portfolio position "
	"positive possible postal posted poster postgres posts power practice praise pre precipitation precision "
	"preferred prefix premium prescription presence present presentation press pressure price pricing primary "
	"principal print printer prior priority privacy private privilege pro probability probe problem procedure "
	"process processed processing processor procurement product production profession professional profile "
	"profiler profit program progress progressive project projection prometheus promo promotion prompt "
	"pronunciation proof proper property proposal prospect protect protected protection protein protocol "
	"prototype provided provider provision provisioning proxy publication published publisher pulse purchase "
	"puzzle py python qos quality quantity quantum quarter quarterly quest question queue queued quick quiz "
	"quota quotation quote radar radio radius rail rain raised range rank ranking rapid rate rating ratio rb "
	"reaction reactor reader readiness reading real realm realtime reason rebate receipt receivable receive "
	"receiver recipe recipient recommendation recommended reconciliation record recording recovery recruitment "
	"recurring recycle redirect redis reduced redundant referee reference referenced referral regex region "
	"regional registered registration registry regression regular reimbursement rejected related relation "
	"relationship relative relay release released relevant remittance remote removed render rent rental "
	"replaced replica replication replies reply repo report reported repositories repository representative "
	"reputation request requested required requirement res reseller reservation reserved residence resident "
	"resistance resolution resolved resolver resource respondent responder response rest restaurant restricted "
	"restriction result retail retention return returned retweet revenue reverse review reviewed reviewer "
	"revised revision reward ride right risk robot role rollback rolling rollout room root rotation rough "
	"round route route53 router routing row rpc rs rss rule ruleset runbook runner runtime s3 safe safety "
	"salary sale same sample sandbox satellite saved scale scanner scenario scene scheduled scheduler scheme "
	"scholarship school science scientist scope scoped score screen screenshot script sdk sea searchable "
	"season seat second secondary secret section secure secured security seen segment seismic selected "
	"selection selector seller semantic semester seminar senior sensitive sensor sent sentence sentiment "
	"separate sequence serial series server serverless service session settlement severity sh sha1 sha256 "
	"shadow shape shard shared shareholder sheet shell shift ship shipment shipped shipping shop shopping "
	"short shortcut shot shout show side sidecar signal signature signed signing silence similar simple "
	"simplified since singer single site sitemap size skill skin skip skipped sku sky slack slang slice slide "
	"slot slow small smart sms snippet soap social socket software soil solar solution song sorted sound "
	"soundtrack source space spam span spatial speaker spec special species specific specification specified "
	"spectrum speech speed spend sphere sponsor sponsorship sport spot sprint sql src ssh ssl sso stable stack "
	"stadium staff stage stake stale standard star starred starring started statement static station statistic "
	"stay step sticker stock stopped storage store stored storm story strategy strict string strong structure "
	"structured student studio study style sub subject submission submitted subnet subresource subscriber "
	"subscription subsidiary substance subtitle such suffix suite sum sun super supervisor supplier supply "
	"support supported surface survey suspended svg swagger symbol symptom synced synonym syntax system tab "
	"table tablet tag tagged tags talk tar target tariff task tax taxation taxes taxonomy teacher team "
	"telemetry telescope temp temperature template temporal temporary tenant tender term terminal terrain "
	"territory text texture that the their theme theory thermal thermostat thing this thread threat threshold "
	"throttle through thumb thumbnail ticket ticketing tide tier tile time timeline timeout timer timestamp "
	"timezone tip title tls to today together token tokenize tolerance toll toml tomorrow tool tooltip topic "
	"topology tour tourism tournament toxicity trace tracer tracked tracking tracks trade trader trading "
	"traffic trailer train trainer training trait transaction transcode transcript transcription transform "
	"transformation transit transition translation translator transport trash travel traveler treasury tree "
	"trend trial trip truck true trust trusted ts tsx ttf tunnel turn tutorial tweet two txn txt type typed "
	"typing udp ui uid unique unit universal university unix unknown unlimited unsafe until unused up upcoming "
	"updated upper upstream uptime uri url urls used user userinfo username using usr utf8 util utility uuid "
	"vacancy vacation vacuum valid validated valuation value var variable variant variation vault vector "
	"vegetation vehicle velocity vendor venue verified vessel via vibration video violation virtual visa "
	"visibility visible visit visitor visual vm vocabulary voice voltage volume volunteer voter votes voucher "
	"vpc vpn vs vulnerability wage wall wallet want warehouse warning warranty wasm watcher watchlist water "
	"wave waybill weak weather web web3 webapp webhook webm webp website websocket week weekly weight well "
	"when where which while whitelist who whole wholesale why wide widget width wifi wiki will wind window "
	"wire wish wishlist with withdrawal within without wizard woff woff2 word work workbook worker workflow "
	"workload workplace worksheet workspace world wrap writer writing www x509 xhtml yaml year yearly yes "
	"yesterday yield yml your zero zip zone ";

#define INDEX_BITS 13 /* places; the vocabulary takes less than a third of them */
enum {
	WORD_MAX = 24,
	LETTERS_MAX = 18, /* of an unknown word; more are random ones, or a sentence without blanks */
	PARTS_MAX = 6,
	DASHED_PARTS_MAX = 4,
};

/* List << LIST_SHIFT | offset in it + 1; 0 = free. W: whoever needs it first, maybe several at once: they come by the same words
 * in the same order, so that what one finds done (acquire) of the other (release) is what it would have done. */
static _Atomic uint16_t places[1 << INDEX_BITS];
static _Atomic bool is_made;
enum { LIST_PLAIN, LIST_VERBS, LIST_ACTIONS, LIST_SHIFT = 14 };
static const char *const lists[] = { [LIST_PLAIN] = plain_words, [LIST_VERBS] = verb_words, [LIST_ACTIONS] = action_words };
_Static_assert(sizeof(plain_words) < 1 << LIST_SHIFT, "the offset of a word does not fit");

#define HASH_SEED 2166136261u /* FNV-1a */
#define HASH_FACTOR 16777619u

static const char *text_at(uint16_t place)
{
	return lists[place >> LIST_SHIFT] + (place & ((1 << LIST_SHIFT) - 1)) - 1;
}

/* Where in places[] the word of this hash is, or would be. */
static uint32_t index_of(uint32_t hash, const char *s, size_t n)
{
	for (uint32_t i = (hash ^ hash >> 15) % (1 << INDEX_BITS);; i = (i + 1) % (1 << INDEX_BITS)) {
		uint16_t place = atomic_load_explicit(&places[i], memory_order_acquire);
		const char *text = place ? text_at(place) : NULL;
		if (!text || (n && text[0] == s[0] && strncmp(text, s, n) == 0 && text[n] == ' '))
			return i;
	}
}

static uint16_t find(const char *s, size_t n)
{
	uint32_t hash = HASH_SEED;

	for (size_t i = 0; i < n; i++)
		hash = (hash ^ (unsigned char)s[i]) * HASH_FACTOR;
	return atomic_load_explicit(&places[index_of(hash, s, n)], memory_order_relaxed);
}

/* In one pass over the text. */
static void add_list(int list)
{
	const char *words = lists[list];

	for (const char *word = words; *word;) {
		uint32_t hash = HASH_SEED;
		size_t n = 0;
		for (; word[n] != ' '; n++)
			hash = (hash ^ (unsigned char)word[n]) * HASH_FACTOR;
		uint32_t i = index_of(hash, word, n);
		if (!atomic_load_explicit(&places[i], memory_order_relaxed))
			atomic_store_explicit(&places[i], (uint16_t)(list << LIST_SHIFT | (word - words + 1)), memory_order_release);
		word += n + 1;
	}
}

/* Programs that are never asked for a path do not pay for it. */
static void make(void)
{
	add_list(LIST_VERBS); /* a word that is in several lists is of the first */
	add_list(LIST_ACTIONS);
	add_list(LIST_PLAIN);
	atomic_store_explicit(&is_made, true, memory_order_release);
}

static bool ends_with(const char *s, size_t n, const char *end)
{
	size_t end_bytes = strlen(end);

	return n > end_bytes + 1 && memcmp(s + n - end_bytes, end, end_bytes) == 0;
}

static uint16_t find_without(const char *s, size_t n, const char *end, const char *instead)
{
	char word[WORD_MAX + 2];
	size_t instead_bytes = strlen(instead);

	if (!ends_with(s, n, end))
		return 0;
	n -= strlen(end);
	memcpy(word, s, n);
	memcpy(word + n, instead, instead_bytes);
	uint16_t place = find(word, n + instead_bytes);
	if (!place && !instead_bytes && n > 3 && word[n - 1] == word[n - 2] && strcmp(end, "s") != 0)
		place = find(word, n - 1); /* planned, tagging */
	return place;
}

static uint16_t find_behind(const char *s, size_t n, const char *prefix)
{
	size_t bytes = strlen(prefix);

	return n >= bytes + 3 && memcmp(s, prefix, bytes) == 0 ? find(s + bytes, n - bytes) : 0;
}

/* In the vocabulary, or a form of one of its words. */
static uint16_t find_form(const char *s, size_t n)
{
	static const char *const prefixes[] = { "re", "un", "de", "dis", "pre", "sub", "non", "multi", "auto" };
	static const char *const endings[][2] = {
		{ "s", "" }, { "ies", "y" }, { "es", "" }, { "ed", "" }, { "ed", "e" }, { "ing", "" }, { "ing", "e" },
		{ "ment", "" }, { "ments", "" }, { "able", "" }, { "ices", "ex" },
	};

	if (n > WORD_MAX)
		return 0;
	uint16_t place = find(s, n);
	bool may_end = memchr("sdgte", s[n - 1], 5); /* as endings do */
	for (size_t i = 0; !place && may_end && i < sizeof(endings) / sizeof(endings[0]); i++)
		place = find_without(s, n, endings[i][0], endings[i][1]);
	for (size_t i = 0; !place && i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
		place = find_behind(s, n, prefixes[i]);
	return place;
}

/* Words written without anything between them: "serviceaccounts", "userinfo". Short ones would be found anywhere. */
static bool is_glued(const char *s, size_t n, int words_max)
{
	if (n >= 3 && n <= WORD_MAX && find_form(s, n))
		return true;
	if (words_max == 1 || n > WORD_MAX * 2)
		return false;
	for (size_t first = 3; first + 3 <= n && first <= WORD_MAX; first++)
		if (find(s, first) && is_glued(s + first, n - first, words_max - 1))
			return true;
	return false;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_upper(char c)
{
	return c >= 'A' && c <= 'Z';
}

static bool is_letter(char c)
{
	return is_upper(c) || (c >= 'a' && c <= 'z');
}

/* "v1", "v2beta1", "v1.43", "2.0" */
static bool is_version(const char *s, size_t n)
{
	size_t i = *s == 'v' || *s == 'V';
	size_t begin = i;

	while (i < n && (is_digit(s[i]) || (s[i] == '.' && i > begin && i + 1 < n)))
		i++;
	if (i == begin || (i - begin > 5) || (!begin && !memchr(s, '.', n)))
		return false;
	if (n - i >= 4 && memcmp(s + i, "beta", 4) == 0)
		i += 4;
	else if (n - i >= 5 && memcmp(s + i, "alpha", 5) == 0)
		i += 5;
	while (i < n && is_digit(s[i]))
		i++;
	return i == n;
}

/* The next part of a segment: from s on, up to a separator or a capital that begins a word. */
static size_t part_bytes(const char *s, size_t n)
{
	size_t i = 0;

	while (i < n && (is_letter(s[i]) || is_digit(s[i]))) {
		bool begins = i && is_upper(s[i]) && (!is_upper(s[i - 1]) || (i + 1 < n && is_letter(s[i + 1]) && !is_upper(s[i + 1])));
		if (begins)
			break;
		i++;
	}
	return i;
}

struct parts {
	size_t count;
	size_t unknown;
	size_t dashes;
	bool is_action;  /* the first is a verb, or the only one an action */
	bool first_is_verb;
	bool has_lower;
	bool is_strange;
	bool is_plural;  /* the last */
};

static void look_at_part(struct parts *parts, const char *s, size_t n)
{
	char word[WORD_MAX * 2];
	uint16_t place = 0;
	bool has_digit = false;

	parts->count++;
	parts->is_plural = n > 3 && (s[n - 1] | 0x20) == 's' && !memchr("sui", s[n - 2] | 0x20, 3);
	if (n > sizeof(word)) {
		parts->unknown++;
		parts->is_strange = true;
		return;
	}
	for (size_t i = 0; i < n; i++) {
		word[i] = is_upper(s[i]) ? (char)(s[i] | 0x20) : s[i];
		has_digit |= is_digit(s[i]);
		parts->has_lower |= is_letter(s[i]) && !is_upper(s[i]);
	}
	place = n > 1 ? find_form(word, n) : 0;
	bool is_known = place || (n == 1 && !has_digit) || is_version(word, n) || (!has_digit && n >= 6 && is_glued(word, n, 3));
	parts->unknown += !is_known;
	parts->is_strange |= !is_known && (has_digit || n > LETTERS_MAX);
	if (parts->count == 1)
		parts->is_action = place >> LIST_SHIFT != LIST_PLAIN && place == find(word, n); /* not "matches" */
	else if (parts->count == 2)
		parts->is_action &= parts->first_is_verb;
	parts->first_is_verb |= parts->count == 1 && place >> LIST_SHIFT == LIST_VERBS;
}

static struct parts parts_of(const char *s, size_t n)
{
	struct parts parts = { 0 };

	for (size_t i = 0; i < n;) {
		size_t bytes = part_bytes(s + i, n - i);
		if (bytes)
			look_at_part(&parts, s + i, bytes);
		i += bytes;
		if (i == n || is_letter(s[i]) || is_digit(s[i]))
			continue;
		parts.dashes += s[i] == '-';
		parts.is_strange |= !memchr("-_.:", s[i], 4);
		i++;
	}
	parts.is_strange |= n > 2 * WORD_MAX || parts.dashes > DASHED_PARTS_MAX;
	parts.is_strange |= parts.unknown > 2 && parts.unknown * 6 >= n; /* capitals at random: base64 without a digit */
	return parts;
}

static enum route_word word_of(const char *s, size_t n, struct parts *ret_parts)
{
	bool is_marked = memchr("_$.@", *s, 4); /* "_search", "$metadata", ".well-known", "@me" */

	*ret_parts = parts_of(s + is_marked, n - is_marked);
	if (ret_parts->is_strange)
		return ROUTE_WORD_STRANGE;
	if (*s == '_' || *s == '$')
		return ROUTE_WORD_ACTION;
	if (!ret_parts->count || ret_parts->unknown || ret_parts->count > PARTS_MAX || ret_parts->dashes >= DASHED_PARTS_MAX)
		return ROUTE_WORD_ODD;
	if (!ret_parts->has_lower) /* codes are written in capitals: "DE", "GET", "INBOX" */
		return ROUTE_WORD_ODD;
	return is_marked || ret_parts->is_action ? ROUTE_WORD_ACTION : ROUTE_WORD_PLAIN;
}

static bool is_prefix(const char *s, size_t n)
{
	static const char *const prefixes[] = { "api", "apis", "rest", "public", "internal", "private", "admin" };

	for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
		if (strlen(prefixes[i]) == n && memcmp(prefixes[i], s, n) == 0)
			return true;
	return false;
}

struct route_word_look route_word_look(const char *s, size_t n)
{
	struct parts parts;

	if (!atomic_load_explicit(&is_made, memory_order_acquire))
		make();
	if (is_version(s, n))
		return (struct route_word_look){ .word = ROUTE_WORD_PLAIN, .is_prefix = true };
	if (n == 1)
		return (struct route_word_look){ .word = is_letter(*s) ? ROUTE_WORD_PLAIN : ROUTE_WORD_STRANGE };
	enum route_word word = word_of(s, n, &parts);
	return (struct route_word_look){ word, parts.is_plural, is_prefix(s, n) };
}
