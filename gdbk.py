from tests.direct.test_quic_engine import *
import tests.helpers.quic_world as qw
world, engine, peer = meet(0, LOSSY)
orig=qw.EngineEnd.receive
def rec(self,data,now,path):
    a=self.engine.figures(); orig(self,data,now,path); b=self.engine.figures()
    print("E<-", now-qw.START, len(data), b["received"]-a["received"], b["newest"], b["updates"], b["forged"])
qw.EngineEnd.receive=rec
os2=qw.EngineEnd.send
def es(self,now):
    o=os2(self,now)
    for d,_ in o: print("E->", now-qw.START, len(d))
    return o
qw.EngineEnd.send=es
oe=qw.AioquicEnd.send
def snd(self,now):
    n=self.quic._packet_number; ph=self.quic._cryptos[qw.Epoch.ONE_RTT].send.key_phase
    o=oe(self,now)
    for i,(d,_) in enumerate(o): print("A->", now-qw.START, len(d), n+i, ph, self.quic._cryptos[qw.Epoch.ONE_RTT].send.key_phase, "upd", self.updates, self.updated_at, self.quic._spaces[qw.Epoch.ONE_RTT].largest_acked_packet)
    return o
qw.AioquicEnd.send=snd
ours, theirs = engine.open(), peer.open()
engine.write(ours, text(1, 400_000), end=True)
peer.write(theirs, text(2, 400_000), end=True)
def done() -> bool:
    peer.update_keys()
    return ours in peer.ended and theirs in engine.ended
print(world.run(300 * SECOND, done))
