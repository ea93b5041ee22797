"""Word lists for the knowledge and language categories: common facts, written out for this model."""

__all__ = ["CAPITALS", "ELEMENTS", "NAMES", "OPPOSITES", "PLURALS", "THINGS", "VARIABLES"]


def pairs(text: str) -> dict[str, str]:
    """`one:other` entries separated by semicolons."""
    return dict(entry.strip().split(":") for entry in text.split(";"))


CAPITALS = pairs(
    "France:Paris; Germany:Berlin; Italy:Rome; Spain:Madrid; Portugal:Lisbon; Poland:Warsaw; Austria:Vienna;"
    "Hungary:Budapest; Greece:Athens; Turkey:Ankara; Russia:Moscow; Ukraine:Kyiv; Sweden:Stockholm; Norway:Oslo;"
    "Denmark:Copenhagen; Finland:Helsinki; Iceland:Reykjavik; Ireland:Dublin; Belgium:Brussels; Latvia:Riga;"
    "Estonia:Tallinn; Lithuania:Vilnius; Romania:Bucharest; Bulgaria:Sofia; Serbia:Belgrade; Croatia:Zagreb;"
    "Slovenia:Ljubljana; Slovakia:Bratislava; Albania:Tirana; Malta:Valletta; Cyprus:Nicosia; Japan:Tokyo;"
    "China:Beijing; India:New Delhi; Nepal:Kathmandu; Bhutan:Thimphu; Thailand:Bangkok; Vietnam:Hanoi; Laos:Vientiane;"
    "Cambodia:Phnom Penh; Indonesia:Jakarta; Philippines:Manila; Mongolia:Ulaanbaatar; Pakistan:Islamabad;"
    "Bangladesh:Dhaka; Afghanistan:Kabul; Iran:Tehran; Iraq:Baghdad; Syria:Damascus; Lebanon:Beirut; Jordan:Amman;"
    "Yemen:Sanaa; Oman:Muscat; Qatar:Doha; Armenia:Yerevan; Georgia:Tbilisi; Azerbaijan:Baku; Uzbekistan:Tashkent;"
    "Egypt:Cairo; Libya:Tripoli; Tunisia:Tunis; Algeria:Algiers; Morocco:Rabat; Sudan:Khartoum; Ethiopia:Addis Ababa;"
    "Kenya:Nairobi; Uganda:Kampala; Rwanda:Kigali; Somalia:Mogadishu; Ghana:Accra; Nigeria:Abuja; Senegal:Dakar;"
    "Mali:Bamako; Niger:Niamey; Chad:Ndjamena; Angola:Luanda; Zambia:Lusaka; Zimbabwe:Harare; Namibia:Windhoek;"
    "Botswana:Gaborone; Mozambique:Maputo; Madagascar:Antananarivo; Malawi:Lilongwe; Gabon:Libreville; Togo:Lome;"
    "Canada:Ottawa; Mexico:Mexico City; Cuba:Havana; Jamaica:Kingston; Haiti:Port-au-Prince; Guatemala:Guatemala City;"
    "Honduras:Tegucigalpa; Nicaragua:Managua; Panama:Panama City; Colombia:Bogota; Venezuela:Caracas; Ecuador:Quito;"
    "Peru:Lima; Bolivia:Sucre; Chile:Santiago; Argentina:Buenos Aires; Uruguay:Montevideo; Paraguay:Asuncion;"
    "Brazil:Brasilia; Guyana:Georgetown; Australia:Canberra; Fiji:Suva; Samoa:Apia; Tonga:Nukualofa; Kiribati:Tarawa"
)

ELEMENTS = pairs(
    "hydrogen:H; helium:He; lithium:Li; beryllium:Be; boron:B; carbon:C; nitrogen:N; oxygen:O; fluorine:F; neon:Ne;"
    "sodium:Na; magnesium:Mg; aluminium:Al; silicon:Si; phosphorus:P; sulfur:S; chlorine:Cl; argon:Ar; potassium:K;"
    "calcium:Ca; scandium:Sc; titanium:Ti; vanadium:V; chromium:Cr; manganese:Mn; iron:Fe; cobalt:Co; nickel:Ni;"
    "copper:Cu; zinc:Zn; gallium:Ga; germanium:Ge; arsenic:As; selenium:Se; bromine:Br; krypton:Kr; rubidium:Rb;"
    "strontium:Sr; yttrium:Y; zirconium:Zr; niobium:Nb; silver:Ag; cadmium:Cd; indium:In; tin:Sn; antimony:Sb;"
    "iodine:I; xenon:Xe; barium:Ba; tungsten:W; platinum:Pt; gold:Au; mercury:Hg; lead:Pb; bismuth:Bi; radon:Rn;"
    "radium:Ra; thorium:Th; uranium:U; plutonium:Pu"
)

OPPOSITES = pairs(
    "hot:cold; big:small; up:down; left:right; day:night; black:white; fast:slow; high:low; old:young; rich:poor;"
    "happy:sad; hard:soft; open:closed; full:empty; long:short; wide:narrow; wet:dry; clean:dirty; light:dark;"
    "early:late; loud:quiet; strong:weak; thick:thin; near:far; first:last; true:false; buy:sell; push:pull;"
    "start:finish; win:lose; love:hate; remember:forget; rise:fall; above:below; inside:outside; sweet:bitter;"
    "smooth:rough; deep:shallow; cheap:expensive; safe:dangerous; brave:afraid; friend:enemy; question:answer;"
    "victory:defeat; north:south; east:west; arrive:depart; accept:refuse; attack:defend; increase:decrease"
)

PLURALS = pairs(
    "man:men; woman:women; child:children; foot:feet; tooth:teeth; goose:geese; mouse:mice; ox:oxen; person:people;"
    "leaf:leaves; knife:knives; wolf:wolves; life:lives; half:halves; loaf:loaves; shelf:shelves; thief:thieves;"
    "city:cities; baby:babies; story:stories; party:parties; lady:ladies; berry:berries; fly:flies; box:boxes;"
    "bus:buses; dish:dishes; watch:watches; class:classes; fox:foxes; church:churches; potato:potatoes;"
    "tomato:tomatoes; hero:heroes; echo:echoes; cat:cats; dog:dogs; tree:trees; car:cars; book:books; table:tables;"
    "house:houses; river:rivers; stone:stones; window:windows; garden:gardens; teacher:teachers; sheep:sheep;"
    "fish:fish; deer:deer; crisis:crises; thesis:theses; cactus:cacti; fungus:fungi; datum:data; medium:media"
)

NAMES = "Tom Ann Ben Eva Max Lea Sam Mia Leo Zoe Dan Ida".split()
THINGS = "apples books coins cards stamps shells pens balls".split()
VARIABLES = """
    xs ys data items rows values names words nums lines keys scores points users files tags parts
    links pages books prices dates colors cells nodes edges steps tasks votes notes bits bytes queue
    stack cache table marks hours group batch events orders teams cards coins boxes trees roads
    towns ports ships cars days weeks months years songs films games moves turns rules facts terms
    roots sums gaps ends tops codes ids logs jobs runs tests bugs fixes costs bills loans debts
    funds taxes goals plans ideas rates ages sizes widths depths areas angles sides faces masks
    heads tails pairs sets maps trips flights seats rooms doors walls bricks tiles paths nets pools
    bags
""".split()
