/* The words were chosen from general knowledge of interfaces over HTTP: what they offer, of which trades, and what is done
 * with it. Plurals and the commonest endings are found by rule. Left out on purpose: names of persons and places, and
 * nouns that occur in them (king, hill, rose), since those are what a variable looks like.
 */
#include "route_words.h"

#include <stdint.h>
#include <string.h>

/* What is found beside a variable: /users/{id}, /users/search. */
static const char action_words[] =
	"accept access acknowledge activate active activity add aggregate all analyze any append apply approve archive "
	"assign attach authenticate authorize auto autocomplete available batch begin block browse bulk by calculate "
	"callback cancel change check claim clean clear clone close closed collect commit compare complete confirm connect "
	"convert copy count create current deactivate decline decrypt default defaults deny deploy deregister describe detach "
	"diff disable disconnect discover download draft dump duplicate edit enable encrypt enroll evaluate events exec "
	"execute exists expand export feed fetch filter find finish flush force forgot format generate get grant head health "
	"heartbeat history html id identify ignore import index info init initialize inspect install invite invoke issue "
	"join json kill last latest leave link list load lock login logout lookup mark match me merge meta metadata metrics "
	"migrate mine modify monitor move multi mute my name names new next notify now open optimize order own patch pause "
	"pending ping popular post predict preview previous prune public publish pull purge push put query random raw read "
	"ready rebuild recent recover refresh refund regenerate register reject reload remove rename renew reopen reorder "
	"repair replace replay report request rerun resend reset resize resolve restart restore resume retrieve retry revert "
	"review revoke root rotate run save scan schedule schema schemas scroll search select self send set share sign "
	"signin signout signup simulate snapshot sort split start stat state statistics stats status stop stream submit "
	"subscribe suggest suggestions summary suspend swap switch sync tail template templates terminate test top "
	"total track transfer translate trending trigger types unarchive unassign unblock undelete undo uninstall unlink "
	"unlock unmute unpause unpublish unread unregister unsubscribe update upgrade upload upsert usage validate "
	"validation verify version view vote wait watch whoami write xml csv "
	"delete destroy featured grouped home overview dashboard count settings preferences config configuration options "
	"events logs groups roles permissions ";

static const char plain_words[] =
	/* computing */
	"abort abuse acl acls acme adapter addon address admin admission advisory affinity agent ai alarm alert algorithm alias "
	"aliases analysis analytics anchor android angular anomaly anonymous apache api apidocs apis app appliance application "
	"apps architecture arg args array artifact aspect asset assertion async atom attachment attribute audio audit auth "
	"authentication authorization autoscaling avatar aware aws azure back backend background backup badge balance "
	"balancer banner barcode base base64 basic beacon bearer behavior benchmark beta bin binary binding bit blacklist blob "
	"blocklist bookmark boot bot bounce branch bridge broker broadcast browser bucket buffer bug build builder bundle "
	"bus button byte cache calendar call camera canary capability capacity caption capture card cart case catalog category "
	"cdn cell certificate cgi chain challenge channel chart chat checkpoint checkout checksum child children chunk ci cipher "
	"class classification classifier classify cli client clipboard clock cloud cluster cms cname code codec cohort "
	"collaborator collection collector color column command comment commitment community compile compliance component "
	"compute concept condition conference connection connectivity connector console consent consistency constraint "
	"consumer contact container content context contribution contributor control controller conversation conversion cookie "
	"coordinator core cors cpu crash crawl crawler credential credentials cron crypto css cube cursor custom cve cycle "
	"daemon daily data database databases dataset datasource datastore datatype date datetime day db dead debug decision "
	"declaration dedicated deep definition delay delegate delegation delivery demo deny department dependency deployment "
	"depth design desktop destination detail details detection detector dev developer development device devices diagnose "
	"diagnostic diagram dialog dictionary digest digital dimension direct direction directive directory discovery "
	"discussion disk dispatch display dispute distribution dns doc docker docs document documentation domain door driver "
	"drive drop dynamic echo edge editor effect elastic element email embed embedding emoji employee encoding encryption "
	"end endpoint engine enterprise entity entitlement entry enum environment env epic error escalation estimate etag ethernet "
	"evaluation event exception exchange execution executor exit expense experiment experimental expiration explain "
	"explore explorer expression extension external extra extract fabric face factor factory failed failover failure "
	"fallback family faq favicon favorite favourite fax feature federation feedback field file files filesystem finding "
	"fingerprint firewall firmware fix flag flavor flat float floating flow folder folders follow follower followers following "
	"font footer fork form forward forum fragment frame framework free freeze frequency friend friendship front frontend "
	"full function functional gallery game gateway gauge general generator generic geo geocode geolocation gist git github "
	"gitlab global glossary google gpu grade grant graph graphql grid group guard guest guide handle handler hardware hash "
	"header headers healthcheck healthz helm help helper hidden hierarchy highlight hit hold hook host hosted hosting "
	"hostname hour hourly http https hub icon identifier identity idp image images implementation inbound inbox incident "
	"include incoming increment indicator individual industry ingest ingress inline input insight instance instruction "
	"int integer integration integrity interaction interactive interface internal internet interval introspect introspection "
	"inventory invitation invocation io ios ip ips ipv4 ipv6 iso item iteration jar java javascript job journal js jwks jwt k8s "
	"kafka kernel key keyboard keypair keyring keyspace keyword kind kit kube kubernetes kv label lambda landing language "
	"languages large layer layout lead leaf lease legacy legal level library license lifecycle light limit limits line "
	"lineage linux list listener live local locale localization location log logger logging logo loop mail mailbox mailing "
	"main maintenance manage management manager manifest manual map mapping marker market marketplace mask master matrix "
	"mcp mech media medium member membership memory mention menu mesh message messages messaging meter method metric "
	"microservice middleware migration milestone mime minute mirror missing mission mobile mode model moderation module "
	"month monthly mount mouse movie multipart music mutation mysql namespace native navigation near neighbor nested net "
	"network neural news newsletter nginx node none note notebook notice notification null number oauth oauth2 object objects "
	"observability observation offline offset oidc online op openapi opening openid openssl operate operation operations operator "
	"opt option orchestration org organisation organization origin os other outage outbound outbox outgoing outlet output "
	"override owner owners ownership pack package packet page pages pair panel paper param parameter parent parse part "
	"partial participant partition partner party pass passkey password paste path pattern peer people performance period "
	"permission persistent person persona personal phase phone photo php physical picture pilot pin pipeline pivot pixel "
	"place placeholder placement plan planner platform play player playlist plugin png jpg jpeg gif svg webp ico txt pdf zip tar gz mp3 "
	"mp4 webm wasm ts tsx jsx map md yaml yml toml ini sh py rb go rs htm xhtml rss woff woff2 ttf eot "
	"pod point policy poll pool pop port portal portfolio position postgres power prefix presence presentation press "
	"primary principal print printer priority privacy private privilege probe problem procedure process processor product "
	"production profile profiler program progress project projection prometheus prompt proof property proposal protect "
	"protected protection protocol prototype provider provision provisioning proxy publication publisher python qos quality quantity "
	"question queue quick quiz quota range rank ranking rate rating ratio reaction reader readiness real realm realtime reason "
	"receipt receive receiver recipe recipient recommendation record recording recovery recycle redirect redis "
	"reference referral regex region regional registration registry regression relation relationship relay release remote "
	"render replica replication repo repository repositories reputation requirement res reservation resolution resolver resource resources "
	"response rest result retention return reverse revision right risk robot robots role rollback rollout room route "
	"router routing row rpc rule ruleset runbook runner runtime safe safety sample sandbox scale scanner scenario scene "
	"scheduler scheme scope score scoped screen screenshot script sdk season seat second secondary secret section secure "
	"security segment selection selector semantic sensor sentiment sequence serial series server serverless service "
	"services session sessions severity shadow shard shared sheet shell short shortcut side sidecar signal signature "
	"signing silence simple single site sitemap size skill skin slack slice slide slot slow small smart sms snippet soap social "
	"socket software solution source sources space spam span spec special specification speech speed sprint sql src ssh ssl "
	"sso stack staff stage standard star starred starring static station step sticker storage store story strategy "
	"string structure style sub subject submission subnet subresource subscriber subscription suffix suite support survey "
	"swagger symbol syntax synonym system systems tab table tablet tag tags target task taxonomy team telemetry temp temporary "
	"tenant term terminal terms text texture theme thread threat threshold throttle thumb thumbnail ticket time timeline "
	"timeout timer timestamp timezone title tls token tokenize tokens tool tooltip topic topology trace tracer tracking "
	"traffic trailer train training transaction transactions transcode transcript transcription transform transformation "
	"transition translation transport trash tree trial trust tunnel turn tutorial two txn type typing udp ui uid unit "
	"universal unix upstream uptime uri url urls user userinfo username users usr util utility uuid vacation "
	"value values var variable variant variation vault vector vendor venue vendors video violation virtual visibility "
	"visit visitor visual vm voice volume vpc vpn vulnerability wall wallet warehouse warning watcher watchlist web webapp "
	"webhook website websocket week weekly weight well whitelist widget wifi wiki window windows wizard word work workbook "
	"worker workflow workload workplace worksheet workspace world wrap www year yearly zone 2fa s3 ec2 sha1 sha256 md5 x509 "
	"utf8 http2 web3 i18n l10n html5 route53 b2b "
	/* money, trade, travel */
	"abandoned account accounting accrual ach acquisition ad ads adjustment advance advertiser advertising affiliate agency "
	"agreement airline airport allocation allowance amount annual appointment appraisal arrival article auction authority "
	"authors author award bank banking batch bid bill billing bin blog blogs board bond bonus book booking books brand "
	"broker budget business buyer cabin campaign candidate capital car care career cargo carrier cash charge "
	"city cities claim coach collateral commerce commission commodity company compensation competition competitor "
	"concert contract cost counterparty country countries county coupon course court coverage credit creditor creator "
	"currency customer dealer debit debt deal deduction deposit discount district dividend divided document donation "
	"driver due duty earning economy education election energy engagement entertainment equipment equity escrow estate "
	"exam excise expedition express faculty fare fee finance financial fiscal flight food forecast forex franchise "
	"freight fulfillment fulfilment fund funding fuel garage gift good goods government guarantee handling "
	"holiday hotel household housing hr income inquiry installment institution instrument insurance interest "
	"interview investment investor invoice itinerary journey kitchen kyc labor land lawyer leaderboard league learning "
	"ledger lender lesson liability license lien liquidity listing loan loyalty luggage magazine maker mandate manufacturer "
	"margin mass meal medical medication meeting mention mentor merchant merchandise model mortgage museum offer offering offers office "
	"onboarding opportunity option outcome outlook package parcel park parking passenger passport patient pay payee payer "
	"payment payments payout payroll penalty pension performance pharmacy pickup plan pledge portfolio postal practice "
	"premium prescription price prices pricing procurement product professional profit promo promotion property "
	"prospect provider public purchase quotation quote rail rebate receivable reconciliation recruitment referee reimbursement "
	"remittance rent rental representative reseller residence restaurant retail return revenue reward ride salary sale "
	"sales scholarship school seller semester seminar settlement share shareholder shift ship shipment shipping shop shopping "
	"sku spend sponsor sponsorship sport stadium stake statement status stay stock stocks student study subsidiary "
	"supplier supply tariff tax taxation taxes teacher tender terminal territory ticketing tier tip toll tour tourism "
	"tournament trade trader trading train transit travel traveler treasury trip truck university valuation vacancy "
	"vehicle vessel visa voucher wage warranty waybill weather wholesale wire withdrawal yield "
	/* people and their talk */
	"acceptance accessibility achievement actor agenda album anniversary announcement answer applicant approval approver area arena art artist "
	"assessment assignee assignment assistant associate association attendance attendee audience author authored beneficiary "
	"birthday body bug caller callee certification champion check chapter club commenter committee communication connection "
	"contributor contest copyright crew crowd culture debate diary digest director discourse dm editorial episode "
	"essay evidence exercise exhibit expert eye fan female fitness friend genre goal guild habit headline hero hint human idea "
	"impression influencer information inmate inspector interest introduction job junior kid knowledge leader leaders "
	"like liked likes listen listener literature male match media memo microphone mood motion narrative nearby "
	"news nickname notes opinion participant parent penpal performer photo photographer planet plot podcast poem poet "
	"poster posts praise problem profession pronunciation puzzle quest reader reading recipe recommended related reply replies resident "
	"responder respondent retweet reviewer saved scene scientist score script seen senior sentence series shot shout show "
	"singer slang song songs soundtrack speaker speech sponsor statement studio style subscriber subtitle supervisor symptom talk "
	"theory thing things timeline topic track tracks trainer trait translator trend tweet update vocabulary volunteer voter votes want "
	"watchers wish wishlist worker writer writing "
	/* measure, science, things */
	"acceleration air altitude analog angle atmosphere axis battery biology blood box brightness calibration carbon chemical "
	"circle circuit climate coordinate curve diameter dimension distance dose drug duration earth electric electricity "
	"elevation emission environment equation experiment filter fire fixture flood force formula gas gene genome geometry "
	"geography gravity heat height humidity image impact intensity lab latitude latency lens longitude magnetic magnitude "
	"mass material mean measure measurement mechanism median metal meteor mineral mixture molecule momentum noise nutrient "
	"observation ocean orbit organ organism particle plant plate pollution precipitation precision pressure probability protein "
	"pulse quantum radar radio radius rain reactor reading resistance robot rotation satellite scale science sea seismic "
	"sequence shape signal sky soil solar sound spatial species spectrum sphere statistic storm structure substance sun "
	"surface telescope temperature terrain thermal thermostat tide tile tolerance toxicity unit vacuum vegetation velocity vibration "
	"voltage volume water wave width wind "
	/* small words, and what is said of others */
	"about above absolute abstract accepted accurate across actual additional advanced after against agile alpha alternate "
	"alternative amended and annotation approved approximate are around as assigned associated at attached attempt automatic "
	"automated automation average away bad before below best better between big bottom bound calculated cancelled canceled "
	"central certified changed changelog changes checked choice chosen clean collected combined common compact compatible "
	"completed concurrent conditional connected consolidated constant continue continuous correct critical cross cumulative "
	"daily dark decoded deferred deleted denied dependent deprecated detailed different disabled distinct down drained dry "
	"each early easy eligible empty enabled enough equal essential every exact example excluded existing expanded expected "
	"expired explicit extended extensive false fast few final finalized first fixed flagged flexible for forced formatted "
	"from fulfilled further future generated given grouping hard has here high historical hot how immediate immutable implicit in "
	"inactive included incomplete indexed initial inner inside instant into invalid involved is isolated issued it joined "
	"kept known late later launch layered leased left length less linked listed loaded locked logged logical long "
	"low lower major managed mandatory mapped marked matching max maximum merged middle min minimum minor missed mixed mock "
	"modified more most multiple mutual named national negative neutral no normal not notified nullable of off old "
	"on once one only optimal optional or ordered original orphan out outer outstanding over overall overdue pages paid "
	"parallel parsed paused per percent percentage permanent pinned plain planned plus positive possible posted pre preferred "
	"present prior pro processed processing product progressive proper provided published quarter quarterly queued quota raised "
	"rapid recurring reduced redundant referenced registered regular rejected relative released relevant removed replaced "
	"reported requested required reserved resolved restricted restriction returned reviewed revised rolling rough round same "
	"scheduled search searchable secured selected sensitive sent separate shipped signed similar simplified since skip skipped "
	"sorted specific specified spot stable stale started stopped stored strict strong structured submitted such "
	"sum super supported suspended synced tagged temporal that the their this through times to today together "
	"tomorrow tracked trusted true typed unique unknown unlimited unsafe until unused up upcoming updated upper used using "
	"valid validated verified visible via vs weak when where which while who whole why wide will with within without yesterday yes "
	"your zero ";

#define INDEX_BITS 13 /* places; the vocabulary takes less than a third of them */
enum { WORD_MAX = 24, PARTS_MAX = 6, DASHED_PARTS_MAX = 4 };

/* Offset in its list + 1, with IS_ACTION; 0 = free. */
static uint16_t places[1 << INDEX_BITS];
#define IS_ACTION 0x8000

static uint32_t hash_of(const char *s, size_t n)
{
	uint32_t hash = 2166136261u; /* FNV-1a */

	for (size_t i = 0; i < n; i++)
		hash = (hash ^ (unsigned char)s[i]) * 16777619u;
	return (hash ^ hash >> 15) % (1 << INDEX_BITS);
}

static const char *text_at(uint16_t place)
{
	return place & IS_ACTION ? action_words + (place & ~IS_ACTION) - 1 : plain_words + place - 1;
}

static uint16_t find(const char *s, size_t n)
{
	for (uint32_t i = hash_of(s, n); places[i]; i = (i + 1) % (1 << INDEX_BITS)) {
		const char *text = text_at(places[i]);
		if (strncmp(text, s, n) == 0 && text[n] == ' ')
			return places[i];
	}
	return 0;
}

static void add_list(const char *words, uint16_t flag)
{
	for (const char *word = words; *word;) {
		size_t n = strcspn(word, " ");
		if (!find(word, n)) {
			uint32_t i = hash_of(word, n);
			while (places[i])
				i = (i + 1) % (1 << INDEX_BITS);
			places[i] = (uint16_t)(word - words + 1) | flag;
		}
		word += n + 1;
	}
}

void route_words_init(void)
{
	add_list(action_words, IS_ACTION);
	add_list(plain_words, 0);
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

/* In the vocabulary, or a form of one of its words. */
static uint16_t find_form(const char *s, size_t n)
{
	static const char *const endings[][2] = {
		{ "s", "" }, { "ies", "y" }, { "es", "" }, { "ed", "" }, { "ed", "e" }, { "ing", "" }, { "ing", "e" },
		{ "ment", "" }, { "ments", "" }, { "able", "" }, { "ices", "ex" },
	};

	if (n > WORD_MAX)
		return 0;
	uint16_t place = find(s, n);
	for (size_t i = 0; !place && i < sizeof(endings) / sizeof(endings[0]); i++)
		place = find_without(s, n, endings[i][0], endings[i][1]);
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
	bool has_action; /* the first or the last is one */
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
		return;
	}
	for (size_t i = 0; i < n; i++) {
		word[i] = is_upper(s[i]) ? (char)(s[i] | 0x20) : s[i];
		has_digit |= is_digit(s[i]);
	}
	place = n > 1 ? find_form(word, n) : 0;
	bool is_known = place || n == 1 || is_version(word, n) || (!has_digit && n >= 6 && is_glued(word, n, 3));
	parts->unknown += !is_known || (n == 1 && has_digit);
	parts->is_strange |= has_digit && !is_known;
	parts->has_action = place ? (place & IS_ACTION) != 0 || (parts->has_action && parts->count > 1) : parts->count > 1 && parts->has_action;
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
	return parts;
}

enum route_word route_word_of(const char *s, size_t n)
{
	if (n == 1)
		return is_letter(*s) ? ROUTE_WORD_PLAIN : ROUTE_WORD_STRANGE;
	if (is_version(s, n))
		return ROUTE_WORD_PLAIN;
	bool is_marked = memchr("_$.@", *s, 4); /* "_search", "$metadata", ".well-known", "@me" */
	struct parts parts = parts_of(s + is_marked, n - is_marked);
	if (parts.is_strange)
		return ROUTE_WORD_STRANGE;
	bool is_known = parts.count && !parts.unknown && parts.count <= PARTS_MAX && parts.dashes < DASHED_PARTS_MAX;
	if (is_marked && (is_known || *s == '_' || *s == '$'))
		return ROUTE_WORD_ACTION;
	if (!is_known)
		return ROUTE_WORD_ODD;
	return parts.has_action ? ROUTE_WORD_ACTION : ROUTE_WORD_PLAIN;
}

bool route_word_is_plural(const char *s, size_t n)
{
	return parts_of(s, n).is_plural;
}

bool route_word_is_prefix(const char *s, size_t n)
{
	static const char *const prefixes[] = { "api", "apis", "rest", "services", "public", "internal", "private", "admin", "app", "web" };

	for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
		if (strlen(prefixes[i]) == n && memcmp(prefixes[i], s, n) == 0)
			return true;
	return is_version(s, n);
}
