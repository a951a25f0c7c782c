#include "lib/sync/futex.hpp"
#include <errno.h>
#include <linux/futex.h>
#include "lib/base/arena.hpp"
#include "lib/base/spin.hpp"
#include "lib/sync/wait_list.hpp"
#include "lib/sys/raw.hpp"
namespace bide::sync {
namespace {
struct place { core::waiter w{core::waiter::reach::anyone}; place* next=nullptr; place* prev=nullptr; std::uint32_t* word; std::uint32_t bits; bool on=false; };
struct bucket { std::atomic<std::uint32_t> lock; place* first; place* last; };
bucket* table=nullptr;
bucket& of(std::uint32_t* w) noexcept { if(!table) table=static_cast<bucket*>(base::reserve(16384*sizeof(bucket))); return table[(reinterpret_cast<std::uintptr_t>(w)>>2)*0x9e3779b97f4a7c15ull>>50]; }
void off(bucket& b, place& p){ p.on=false; (p.prev?p.prev->next:b.first)=p.next; (p.next?p.next->prev:b.last)=p.prev; }
void on(bucket& b, place& p){ p.on=true; p.next=nullptr; p.prev=b.last; (b.last?b.last->next:b.first)=&p; b.last=&p; }
long wake(std::uint32_t* word, int count, std::uint32_t bits){ bucket& b=of(word); base::spin_guard g(b.lock); long n=0; for(place* p=b.first;p&&n<count;){ place* nx=p->next; if(p->word==word&&(p->bits&bits)){ off(b,*p); if(core::wake(p->w,wait_result::ready)) ++n; } p=nx; } return n; }
std::int64_t until_of(const void* t, bool absolute, bool realtime){ if(!t) return base::never; auto& ts=*static_cast<const timespec*>(t); std::int64_t v=ts.tv_sec>base::never/base::second-1?base::never:ts.tv_sec*base::second+ts.tv_nsec; if(v==base::never) return v; if(!absolute) return base::after(base::now(),v); if(realtime){ timespec n; clock_gettime(CLOCK_REALTIME,&n); return base::after(base::now(), v-(n.tv_sec*base::second+n.tv_nsec)); } return v; }
long wait(std::uint32_t* word,std::uint32_t value,std::uint32_t bits,std::int64_t until){ bucket& b=of(word); place p; p.word=word; p.bits=bits; base::spin_lock(b.lock); on(b,p); if(std::atomic_ref<std::uint32_t>(*word).load()!=value){ off(b,p); base::spin_unlock(b.lock); return -EAGAIN; } base::spin_unlock(b.lock);
  auto how=core::park(p.w,{"a futex",-1,true},until,core::cancel_point::yes); bool woken; { base::spin_guard g(b.lock); woken=!p.on; if(p.on) off(b,p);} if(woken) return 0; if(how==wait_result::expired) return -ETIMEDOUT; return -EINTR; }
}
long futex(std::uint32_t* word,int op,std::uint32_t value,const void* t,std::uint32_t* word2,std::uint32_t v3) noexcept {
  bool rt=op&FUTEX_CLOCK_REALTIME; auto& me=*core::this_fiber();
  switch(op&FUTEX_CMD_MASK){
  case FUTEX_WAIT: return wait(word,value,~0u,until_of(t,false,false));
  case FUTEX_WAIT_BITSET: return wait(word,value,v3,until_of(t,true,rt));
  case FUTEX_WAKE: { long n=wake(word,(int)value,~0u); if(!(op&FUTEX_PRIVATE_FLAG)) n+=sys::raw(SYS_futex,word,FUTEX_WAKE,value-n); return n; }
  case FUTEX_WAKE_BITSET: return wake(word,(int)value,v3);
  case FUTEX_CMP_REQUEUE: if(*word!=v3) return -EAGAIN; [[fallthrough]];
  case FUTEX_REQUEUE: return wake(word,INT32_MAX,~0u);
  case FUTEX_WAKE_OP: { int o=(v3>>28)&7,c=(v3>>24)&15,oa=(int)(v3<<8)>>20,ca=(int)(v3<<20)>>20; if((v3>>28)&8) oa=1<<oa; int ov=*(int*)word2; *(int*)word2=o==0?oa:o==1?ov+oa:o==2?ov|oa:o==3?ov&~oa:ov^oa; long k=wake(word,(int)value,~0u); bool y=c==0?ov==ca:c==1?ov!=ca:c==2?ov<ca:c==3?ov<=ca:c==4?ov>ca:ov>=ca; if(y) k+=wake(word2,(int)(long)t,~0u); return k; }
  case FUTEX_LOCK_PI: case 13: { auto until=until_of(t,true,(op&FUTEX_CMD_MASK)==FUTEX_LOCK_PI||rt); for(;;){ std::uint32_t v=*word; if(!(v&FUTEX_TID_MASK)){ *word=me.tid|(v&FUTEX_OWNER_DIED); return 0;} if((v&FUTEX_TID_MASK)==me.tid) return -EDEADLK; *word=v|FUTEX_WAITERS; long r=wait(word,v|FUTEX_WAITERS,~0u,until); if((*word&FUTEX_TID_MASK)==me.tid) return 0; if(r==-ETIMEDOUT) return r; } }
  case FUTEX_TRYLOCK_PI: if(*word&FUTEX_TID_MASK) return -EAGAIN; *word=me.tid; return 0;
  case FUTEX_UNLOCK_PI: if((*word&FUTEX_TID_MASK)!=me.tid) return -EPERM; *word=0; wake(word,INT32_MAX,~0u); return 0;
  } return -ENOSYS; }
void futex_wake_everywhere(std::uint32_t* w) noexcept { wake(w,INT32_MAX,~0u); sys::raw(SYS_futex,w,FUTEX_WAKE,INT32_MAX); }
void release_robust_list(robust_list_head* head,std::uint32_t tid) noexcept { auto rel=[&](robust_list* e){ auto w=(std::uint32_t*)((char*)e+head->futex_offset); if((*w&FUTEX_TID_MASK)==tid){ *w=(*w&FUTEX_WAITERS)|FUTEX_OWNER_DIED; futex_wake_everywhere(w);} }; int n=0; for(robust_list* e=head->list.next;e!=&head->list&&++n<2048;){ auto nx=(robust_list*)((std::uintptr_t)e->next&~1ul); rel((robust_list*)((std::uintptr_t)e&~1ul)); e=nx; } if(head->list_op_pending) rel((robust_list*)((std::uintptr_t)head->list_op_pending&~1ul)); }
void futex_after_fork() noexcept { for(int i=0;table&&i<16384;++i){ table[i].lock=0; table[i].first=table[i].last=nullptr; } }
}
