# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Damaged databases of SQLite's own fuzz corpus, in the public domain: one for each kind of wrong answer."""

from __future__ import annotations

import base64
import zlib

_PACKED = {
    "message-not-utf8": (
        "c-"
        "rmQOH5Q}6bJBg<~#fu1`!68hoD|`gh4@>2TxHLU=S1)bX0tx4r*JIHq~Ypnr^gd6Yaw2PItP~ohDuAPItP~opz<0M*7q~wf6NNA1"
        "NdzHnB~bFemfncNb^AZzkv7bCa`aWavO<zxUSrAH0{&cro#bs&spvi1@h*xs1zk<-"
        "NFm87i+2zchXk$bOL<XQNP0>Zg*6SB0sC9Lj@1ZO){}-"
        "`$^yWn$>vm`tRSUMkTul=L#OaJpf<KIEI670pE5)U4?9ES;Pc$wYipvm(#3vb9ltnms>HpXz<RtGD&0Ue~L7Sug5&J*%hngdWo)d"
        "PomwTDR$l4r)T%HKO%eqm>%e0^T!E<dICseYq>Q<)&Pht8!T`%6T~}r{#nklOuBI*}p{8sV{1C5up*QL=$bY3M{9~tsKkfGAlzPZ"
        "L~RPpba(~OX*UZg(Y-"
        "}m7<>3TM%Iywi49QIx9vkt+kn0Ocz@bLNsJEu!t_QLM)^UEr1$YV+HW2XMQZ83oIY=>3jp`(Rr4KYFcfEDq3X@bLm|3p^{dbqJmb"
        "Kpq!SwKT$@@+#i@j=eXZ7o6dH>VHTa`o}!eNx?d5bLH7hDw8T9|F)en#U?!dEent^3az9}Po#B2&AuV)2AV34|dlb+D_XvLKcMp+"
        "I^WAp<h5HtHG|znlqvpPbqt1N=AN9E}^RkbxMJLtYpR50LtABp<Mep&w=<mK<{ijX+U4hR{6tN^xIVk#AAL;|Wr+4(0-"
        "q34$MK9?EJ*Q{%lpfckdRPzYJGw_lbyx?qTidir!|G{;mZ+ci(qnlj59FTQky~;@uE`a-"
        "Bp2kIoRL#<T#m|N9+EBpJ|4f%hOn3JwY3<h<F*EAnzljgp?hoqyXkIQja_t?^<#{VSrR+xPV2)Cy2E<0oo=@tY@^#Ofl)eY-PlUE"
        "S{Js^Ew&1q>1JDr6irztHqlMC0vqW@>%a&dv33m8VQa$%y1`npp02kRtfT9!8AEi);#f=9S`2IG8jE6(4q5~QbikUhny$9x=%@X*"
        "3`v@_M)c7>Yd|mUwWa8xJ+=f1ny`9w({2l+i*{KZR?$^fi<NYxEk-Bpv=CO%6}AW+w8Ivnowi#I+Gv}3Xr-"
        ";T04=n|=A)T5+dRZ++^P|yF{>(i*8k54Ke_lH#m8f6dZP2g|M-"
        "}K=g<Ek(I@&yCvxxqT>sDY|LN5KbDeg2N73K2nOscA`s?T7BqaKoo+P1H<$UzE<!47ppR_-pCB-xGz|>h%JRI=6w3kYbro6sne`5"
        "1c%ByRNL}T&hme#g*@3oh84cuV-O*hy(WrJ{6)62N}4>#ENroUkSn`{uM|2OA<EL`pD=YM|z&AcCI"
    ),
    "more-bytes-than-header-says": (
        "c-"
        "rmNTWC~A7zgnGKXdltb~e}D+%}t>Xl<kJ#@*Zl7LBpsl{B%X^+C!e*?^#pZG%`^x~tfNwhskqt1lvgg`&RHCtJL|sL%=uA}aVGit"
        "ST{YM)w+-"
        "<*>$T8fSIp+%iAbLMw;W|+<Q&FtF2)f*=A?%4Qyn{pFwJ4!%eiR%JLNOfR~^N`K61pizTNZ*b`&0zL}{X9<mze=A9Hpk;!KY<*Eu"
        "@QMppxvv1ehlGN^x<`BU1|HU6sx_y`M5<Uq-4rGY%K|yCAO`2c#Sr%s>iL-HnoN;lU%$eBU4x-"
        "BZja}yh=u`lhuJYu|j4p#{k}trz@Wic<+`yX7g&MoA=`3H31V=C5`fWw(;KKd3h>}IhzsGg1<<Juk)v=zhm6aZ@HgeaTh=07H;Me"
        "&SwKlB~^aIEnLPqe2>G}hcB>QQfdruJ-V)LR!lZ$uvOAL3+;+rUm55oQIk<tChA5}qpv)4Qk3*H3f&-"
        "T@HGOR5G8yKL)VMyedVC*M0LJ;p=(98zIvc*L^Zy;p{qsJzPg~}qPVY4=$I(xs{^`9F;unqg8z+Tm5Qm#xsx|f|9<H}S@h2nUpAg"
        "tS>0Npn5!6<!}kF;VKX+!KGU+h9Nw9#X>5_V?@JvQJLQVH+$mFxmg!Q(U}<5}FOjHXAnGfucdVzwor^wvl2{h+7bfq^Y!oJEIwfc"
        ">aq^CL0q_p5@FIWY87|~${=lO=!~^_Va^MrrW}IRCfnRY0mvC01e+2un8=uM---x#{#6cFhNFuM2^dsGY7cJT`$D$3hEwX5~$iSV"
        "3NscCqJQ^)Vk+c{=gT*is7CF>g^rFt92elU6sIllmwM8f579EIb72<S4RK-+^f6a%=R+Zz-"
        ")1ksqn&pm)vP`QWr*ok+q5@NhhLz)Wbx0}GdBHrfI~@rqvM|e0vlw<%m?7h0FsMpcM8FIx%H?fl7tIB3Rx}-"
        "i9{Kk~ydUWTc$c?%RZjj%e#e8{!_W9J-"
        "(^BhJaG>{;~LK66prE>?8WCOa4BD5%fG&UruWirlENa3tVISHn;&CXXpu*&#VFDiBS={cV}V5u^DTNY&!Pt{7TtK+q6;tmZLGcEJ"
        "z>D@s-2ko-=7t82R#23e74I2ii{wn"
    ),
    "unsupported-file-format": (
        "c-"
        "jjN^vNtqRY=P(%1ta$FlJz4U}R))P*7lCVBi2^ZXjj>VrC#_1>zP41YiUaj!r(V3MD2QTnY+_3L&l$Aqp<8ZjPZoAqwgShDOFFre"
        "@|AmI?%!>N-"
        "FJk|;GGnNkB%C^aCJ5(Bt2RhZet1qB&ROA?cEQcH|WjM<!nTpdGP6+$54Y^;%}lccG_gsjS_#E2PHl@VAKFmluostijEnNU?3f>i"
        "+ktH)=3"
    ),
    "wal-version-2-reads-1": (
        "c-rmQNo-SR5C`xXf8&1~n`~@JSi%c98zc}f*&v&fI3y63fCFL20oo$9DpWpzdV#8ypa%rEaDyA%K;i&5xWNr>&=XuL=t{am>GpSs"
        "RFIH3q?IbgBY*lmS>yR+&3oUIX6x|K;mjfLoew|yAf54I;uG~rx95pSfGfmhT*~F2y3Q_{`tEHJkcKaV*&niSHbQzvKbKs*DNHTw"
        "P+C%=O_}uA`-d{IOboqSl8IE(OC@@Sl3pfOo30<L3;SNpie{qj^{nX2EPXXAl8N|U&x%ZDWqYIgBD=p|U+5!!p!f8S-qIU-RWIvB"
        "J+J5Vw4T)CdQ=Z<T6gHM4r)T%G@^A{spVRt`Kt0<Cgh1ck_U26?#L~<Ay?(HT$J;2PEN~7IW9*h|0SYMeNkJ02#r`d8fl}IVHI6v"
        "rC3Q<+I%$72AhX^T5of)g08SRSWcJQY}C;@D?u%-wPMuJ8Y@CIt+ql`(JCuIn1*c@meFMv!cw}_f~cgGmJg457Qhm^#PU!<D-"
        "2jn7n>i8=pr*Lqzlbq0bO7|l+$ukl+iL1l+sf77v|IX?oZ64^V}bpOXs@ZF^A4^FEE?VcE6#7mbm9Arp4|VifEDh6@|3W{el8o;C"
        "{v|I?Mfp5DmE>5u`!)1M+FUn?QgD+*9PyJoi07;l6{P`rWrMYVI32>fG1xQJ?$DpM88S`bz%;x&F_z{zJ4;Yo|`<(BwUk>;FvYzs"
        "vWzCk1RtRE~%~)2I4aAL@O*tGD&0Ue_ynNiXQQp4C%&LXYVYeNXr6sBYE)?bg=poui(XX|V=)FFli|@>m|qeYq>Q<)&PhD{@IL$h"
        "e%9Q*uI%ag%KO4|4m1HiQH8fUU<E9kX>v)3gm@KizKw*hlx-TI{8Jtsi^n9!p|3-EDo?MR!>*cG8{JgB^5-"
        "B```ytsC3vcI(16y3IN<LPx9vDVnl&Y^7Um4YtrNwi?59*xIm}ZnjozqMNJ*8|g-"
        "C#s<2<nlMC%EROYby~VJOuCpix>7Ye0KnJW5Yw22Bg?`#^E0Ls0Yd|0EvwHN>UR!}4+GER+pb4u(H|@4sbkQ!WK_~6BYIM*Jt3o?"
        "%w=mYwHMR_^>1tbwHri&DXr-;@p@p{C5;W6ht3VTNvc-tgxGh4A#%y81<oQ1?{N&<)6rb)<|Ec`;kN@LsLNA~HqoU7sLZ9T`|GD!"
        "&cmB_$^FMde&g>}oXEu|Inb?2*LY#y}ujv^QepAjT?^<4Vl=NBK%UM!96A!*VON!S9JumI0lA|fFFWH|M8A^FIjge?9-"
        "qhUE+UC9WvZkH|#->}~z;p{7oNj?b(<u<F`#0x*Y+Uu*=YM|#94H?w"
    ),
}
DATABASES = {name: zlib.decompress(base64.b85decode(packed)) for name, packed in _PACKED.items()}
