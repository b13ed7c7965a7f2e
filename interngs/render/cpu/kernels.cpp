// SPDX-License-Identifier: GPL-3.0-or-later
//
// Differentiable rasterisation of 3D Gaussians, and the L1 + SSIM loss, on the CPU.
//
// One C++17 file with a C interface (bottom of the file).  Vectors are the GCC/Clang vector extensions, threads are
// std::thread; no vendor intrinsics, no OpenMP, so one source serves x86-64 and ARM on Linux, macOS and Windows.
// Every result is bit-identical for any number of threads: work is cut into chunks whose size does not depend on the
// number of threads, each chunk writes its own outputs, and partial sums are added in chunk order.
//
// The image model is that of 3D Gaussian Splatting (Kerbl et al., SIGGRAPH 2023): EWA projection (Zwicker et al.,
// 2001), front-to-back alpha blending in depth order; the compensation of Mip-Splatting (Yu et al., CVPR 2024,
// eq. 9) when antialiased; the per-pixel absolute gradients of AbsGS (Ye et al., 2024).

#include <algorithm>
#include <atomic>
#include <cmath>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <thread>
#include <type_traits>
#include <vector>

#if defined(_WIN32)
#define EXPORT extern "C" __declspec(dllexport)
#else
#define EXPORT extern "C" __attribute__((visibility("default")))
#endif
#define INLINE inline __attribute__((always_inline))

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wpsabi"  // vectors are only ever passed to inlined functions
#endif

namespace {

// ---------------------------------------------------------------------------------------------------------------
// Threads
// ---------------------------------------------------------------------------------------------------------------

/// A pool whose idle threads sleep (spinning threads would steal the cores of whatever else runs on the machine).
class Pool {
   public:
    explicit Pool(int threads) {
        for (int i = 1; i < threads; ++i) workers_.emplace_back([this] { work(); });
    }

    ~Pool() {
        {
            std::lock_guard<std::mutex> lock(mutex_);
            quit_ = true;
        }
        wake_.notify_all();
        for (auto& worker : workers_) worker.join();
    }

    int threads() const { return static_cast<int>(workers_.size()) + 1; }

    void run(int64_t tasks, const std::function<void(int64_t)>& body) {
        {
            std::lock_guard<std::mutex> lock(mutex_);
            body_ = &body;
            tasks_ = tasks;
            out_of_memory_ = false;
            next_.store(0, std::memory_order_relaxed);
            ++generation_;
        }
        wake_.notify_all();
        drain(body, tasks);
        // Waits for the workers that took part, not for those that a busy machine has not woken yet.
        std::unique_lock<std::mutex> lock(mutex_);
        body_ = nullptr;
        done_.wait(lock, [this] { return active_ == 0; });
        if (out_of_memory_) throw std::bad_alloc();
    }

   private:
    void drain(const std::function<void(int64_t)>& body, int64_t tasks) {
        try {
            for (int64_t i = next_.fetch_add(1); i < tasks; i = next_.fetch_add(1)) body(i);
        } catch (const std::bad_alloc&) {
            out_of_memory_ = true;
        }
    }

    void work() {
        uint64_t seen = 0;
        std::unique_lock<std::mutex> lock(mutex_);
        for (;;) {
            wake_.wait(lock, [&] { return quit_ || generation_ != seen; });
            if (quit_) return;
            seen = generation_;
            const auto* body = body_;
            if (body == nullptr) continue;  // too late, all tasks are taken
            const int64_t tasks = tasks_;
            ++active_;
            lock.unlock();
            drain(*body, tasks);
            lock.lock();
            if (--active_ == 0) done_.notify_one();
        }
    }

    std::vector<std::thread> workers_;
    std::mutex mutex_;
    std::condition_variable wake_, done_;
    const std::function<void(int64_t)>* body_ = nullptr;
    int64_t tasks_ = 0;
    std::atomic<int64_t> next_{0};
    std::atomic<bool> out_of_memory_{false};
    int active_ = 0;
    uint64_t generation_ = 0;
    bool quit_ = false;
};

int default_threads() {
    const unsigned cores = std::thread::hardware_concurrency();
    return static_cast<int>(std::min(std::max(cores, 1u), 8u));
}

// The pool is never destroyed at exit: joining threads while a library is unloaded deadlocks on Windows.
std::mutex* pool_mutex = new std::mutex;
Pool* pool = nullptr;
int wanted_threads = 0;

/// Runs body(0..tasks-1).  When another caller holds the pool, this one runs its tasks by itself.
void parallel(int64_t tasks, const std::function<void(int64_t)>& body) {
    if (tasks > 1) {
        std::unique_lock<std::mutex> lock(*pool_mutex, std::try_to_lock);
        if (lock.owns_lock()) {
            if (wanted_threads == 0) wanted_threads = default_threads();
            if (pool == nullptr) pool = new Pool(wanted_threads);
            if (pool->threads() > 1) {
                pool->run(tasks, body);
                return;
            }
        }
    }
    for (int64_t i = 0; i < tasks; ++i) body(i);
}

/// Runs body(begin, end) over chunks of a fixed size.
template <class Body>
void parallel_chunks(int64_t count, int64_t chunk, const Body& body) {
    parallel((count + chunk - 1) / chunk,
             [&](int64_t i) { body(i * chunk, std::min(count, (i + 1) * chunk)); });
}

// ---------------------------------------------------------------------------------------------------------------
// Vectors of eight
// ---------------------------------------------------------------------------------------------------------------

constexpr int LANES = 8;
typedef float f8 __attribute__((vector_size(32)));
typedef int32_t i8 __attribute__((vector_size(32)));
typedef float f4 __attribute__((vector_size(16)));
typedef int32_t i4 __attribute__((vector_size(16)));

#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define SHUFFLE4(a, b, i, j, k, l) __builtin_shufflevector(a, b, i, j, k, l)
#define HAS_SHUFFLEVECTOR 1
#endif
#endif
#ifndef SHUFFLE4
#define SHUFFLE4(a, b, i, j, k, l) __builtin_shuffle(a, b, (i4){i, j, k, l})
#endif

INLINE f8 splat(float x) { return f8{x, x, x, x, x, x, x, x}; }
INLINE i8 splat(int32_t x) { return i8{x, x, x, x, x, x, x, x}; }
INLINE f8 load(const float* p) {
    f8 v;
    std::memcpy(&v, p, sizeof v);
    return v;
}
INLINE void store(float* p, f8 v) { std::memcpy(p, &v, sizeof v); }
INLINE i8 bits(f8 v) { return (i8)v; }
INLINE f8 select(i8 mask, f8 yes, f8 no) { return (f8)((mask & bits(yes)) | (~mask & bits(no))); }
INLINE f8 only(i8 mask, f8 v) { return (f8)(mask & bits(v)); }
INLINE f8 minimum(f8 a, f8 b) { return a < b ? a : b; }
INLINE f8 maximum(f8 a, f8 b) { return a > b ? a : b; }
INLINE f8 absolute(f8 v) { return (f8)(bits(v) & splat(0x7fffffff)); }

/// Sum of the lanes of four vectors at once.
INLINE f4 horizontal_sums(f8 a, f8 b, f8 c, f8 d) {
    const auto halves = [](f8 v) -> f4 {
#ifdef HAS_SHUFFLEVECTOR
        return __builtin_shufflevector(v, v, 0, 1, 2, 3) + __builtin_shufflevector(v, v, 4, 5, 6, 7);
#else
        f4 part[2];
        std::memcpy(part, &v, sizeof part);
        return part[0] + part[1];
#endif
    };
    const f4 a4 = halves(a), b4 = halves(b), c4 = halves(c), d4 = halves(d);
    const f4 ab = SHUFFLE4(a4, b4, 0, 4, 1, 5) + SHUFFLE4(a4, b4, 2, 6, 3, 7);
    const f4 cd = SHUFFLE4(c4, d4, 0, 4, 1, 5) + SHUFFLE4(c4, d4, 2, 6, 3, 7);
    return SHUFFLE4(ab, cd, 0, 1, 4, 5) + SHUFFLE4(ab, cd, 2, 3, 6, 7);
}

/// 2^-x, relative error 2e-7; x below 0 counts as 0 and beyond 126 as 126.
INLINE f8 exp2_negative(f8 x) {
    const f8 magic = splat(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer in the low mantissa bits
    const f8 t = minimum(maximum(-x, splat(-126.0f)), splat(0.0f));
    const f8 rounded = t + magic;
    const f8 f = t - (rounded - magic);
    // Minimax polynomial of 2^f on [-1/2, 1/2].
    f8 p = splat(1.3333558e-3f);
    p = p * f + splat(9.6178129e-3f);
    p = p * f + splat(5.5504109e-2f);
    p = p * f + splat(2.4022651e-1f);
    p = p * f + splat(6.9314718e-1f);
    p = p * f + splat(1.0f);
    return (f8)(bits(p) + (bits(rounded) << 23));
}

/// Memory that keeps its capacity and is not cleared when it grows.
template <class T>
class Buffer {
   public:
    T* resize(size_t count) {
        if (count > capacity_) {
            data_.reset();
            capacity_ = count + count / 8;
            data_.reset(new T[capacity_]);
        }
        return data_.get();
    }
    T* get() const { return data_.get(); }

   private:
    std::unique_ptr<T[]> data_;
    size_t capacity_ = 0;
};

// ---------------------------------------------------------------------------------------------------------------
// Projection and spherical harmonics
// ---------------------------------------------------------------------------------------------------------------

constexpr float ALPHA_MIN = 1.0f / 255.0f;   // fainter contributions are skipped
constexpr float ALPHA_MAX = 0.999f;          // keeps 1 / (1 - alpha) finite
constexpr float TRANSMITTANCE_MIN = 1e-4f;   // a pixel stops before the Gaussian that would bring it here
constexpr float SIGMAS_MAX = 3.33f;          // beyond, even opacity 1 is below ALPHA_MIN
constexpr float LOG2_E = 1.44269504088896340736f;
constexpr float LN_2 = 0.69314718055994530942f;
constexpr int64_t GAUSSIANS_PER_CHUNK = 2048;
constexpr int SH_MAX = 16;

struct View {
    float W[9], t[3];      // camera_from_world, rotation rows and translation
    float fx, fy, cx, cy;  // pixels
    float u_min, u_max, v_min, v_max;
    float centre[3];       // of the camera, world
};

View make_view(const float* camera_from_world, const float* K, int width, int height) {
    View view;
    for (int r = 0; r < 3; ++r) {
        for (int c = 0; c < 3; ++c) view.W[3 * r + c] = camera_from_world[4 * r + c];
        view.t[r] = camera_from_world[4 * r + 3];
    }
    view.fx = K[0], view.fy = K[4], view.cx = K[2], view.cy = K[5];
    // The local affine approximation is evaluated at most 15 % outside the image; further out it explodes.
    const float margin_u = 0.15f * width / view.fx, margin_v = 0.15f * height / view.fy;
    view.u_min = -(view.cx / view.fx + margin_u);
    view.u_max = (width - view.cx) / view.fx + margin_u;
    view.v_min = -(view.cy / view.fy + margin_v);
    view.v_max = (height - view.cy) / view.fy + margin_v;
    for (int j = 0; j < 3; ++j) {
        view.centre[j] = -(view.W[j] * view.t[0] + view.W[3 + j] * view.t[1] + view.W[6 + j] * view.t[2]);
    }
    return view;
}

/// Rotation matrix (row-major) of a quaternion wxyz of any length; returns 1 / length.
INLINE float rotation_of(const float* q, float* unit, float* R) {
    const float inverse = 1.0f / std::sqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3]);
    const float w = q[0] * inverse, x = q[1] * inverse, y = q[2] * inverse, z = q[3] * inverse;
    unit[0] = w, unit[1] = x, unit[2] = y, unit[3] = z;
    R[0] = 1 - 2 * (y * y + z * z), R[1] = 2 * (x * y - w * z), R[2] = 2 * (x * z + w * y);
    R[3] = 2 * (x * y + w * z), R[4] = 1 - 2 * (x * x + z * z), R[5] = 2 * (y * z - w * x);
    R[6] = 2 * (x * z - w * y), R[7] = 2 * (y * z + w * x), R[8] = 1 - 2 * (x * x + y * y);
    return inverse;
}

/// The 2-D Gaussian of a 3-D one in one view, with everything the backward pass needs again.
struct Projection {
    float x, y, z, h;             // camera point and 1 / z
    float u, v, uc, vc;           // x / z, y / z, and both clamped
    float P[6], A[6];             // J W and J W R diag(s): covariance = A A^T
    float xx, xy, yy;             // blurred covariance
    float det_sharp, det;         // determinants before and after the blur
    float opacity;                // effective
};

INLINE void project_point(const View& c, const float* m, Projection& p) {
    p.x = c.W[0] * m[0] + c.W[1] * m[1] + c.W[2] * m[2] + c.t[0];
    p.y = c.W[3] * m[0] + c.W[4] * m[1] + c.W[5] * m[2] + c.t[1];
    p.z = c.W[6] * m[0] + c.W[7] * m[1] + c.W[8] * m[2] + c.t[2];
}

INLINE void project_covariance(const View& c, const float* M, float opacity, float eps2d, bool antialiased,
                               Projection& p) {
    p.h = 1.0f / p.z;
    p.u = p.x * p.h, p.v = p.y * p.h;
    p.uc = std::min(std::max(p.u, c.u_min), c.u_max);
    p.vc = std::min(std::max(p.v, c.v_min), c.v_max);
    const float kx = c.fx * p.h, ky = c.fy * p.h;
    for (int j = 0; j < 3; ++j) {
        p.P[j] = kx * (c.W[j] - p.uc * c.W[6 + j]);
        p.P[3 + j] = ky * (c.W[3 + j] - p.vc * c.W[6 + j]);
    }
    for (int i = 0; i < 2; ++i) {
        for (int j = 0; j < 3; ++j) {
            p.A[3 * i + j] = p.P[3 * i] * M[j] + p.P[3 * i + 1] * M[3 + j] + p.P[3 * i + 2] * M[6 + j];
        }
    }
    const float* a = p.A;
    const float* b = p.A + 3;
    const float xx = a[0] * a[0] + a[1] * a[1] + a[2] * a[2];
    const float yy = b[0] * b[0] + b[1] * b[1] + b[2] * b[2];
    p.xy = a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
    // det(A A^T) as the squared cross product of the rows (Cauchy-Binet): no cancellation for thin Gaussians.
    const float n0 = a[1] * b[2] - a[2] * b[1], n1 = a[2] * b[0] - a[0] * b[2], n2 = a[0] * b[1] - a[1] * b[0];
    p.det_sharp = n0 * n0 + n1 * n1 + n2 * n2;
    p.det = p.det_sharp + eps2d * (xx + yy) + eps2d * eps2d;
    p.xx = xx + eps2d, p.yy = yy + eps2d;
    p.opacity = antialiased ? opacity * std::sqrt(p.det_sharp / p.det) : opacity;
}

/// Real spherical harmonics of the unit direction (x, y, z).
INLINE void sh_basis(int degree, float x, float y, float z, float* b) {
    b[0] = 0.28209479177387814f;
    if (degree < 1) return;
    b[1] = -0.4886025119029199f * y, b[2] = 0.4886025119029199f * z, b[3] = -0.4886025119029199f * x;
    if (degree < 2) return;
    const float xx = x * x, yy = y * y, zz = z * z;
    b[4] = 1.0925484305920792f * x * y, b[5] = -1.0925484305920792f * y * z;
    b[6] = 0.9461746957575601f * zz - 0.31539156525252005f;
    b[7] = -1.0925484305920792f * x * z, b[8] = 0.5462742152960396f * (xx - yy);
    if (degree < 3) return;
    b[9] = -0.5900435899266435f * y * (3 * xx - yy), b[10] = 2.890611442640554f * x * y * z;
    b[11] = -0.4570457994644658f * y * (5 * zz - 1), b[12] = 0.3731763325901154f * z * (5 * zz - 3);
    b[13] = -0.4570457994644658f * x * (5 * zz - 1), b[14] = 1.445305721320277f * z * (xx - yy);
    b[15] = -0.5900435899266435f * x * (xx - 3 * yy);
}

/// Gradient of sum_k u[k] * basis_k with respect to the direction.
INLINE void sh_direction_gradient(int degree, float x, float y, float z, const float* u, float* g) {
    g[0] = g[1] = g[2] = 0;
    if (degree < 1) return;
    g[0] = -0.4886025119029199f * u[3], g[1] = -0.4886025119029199f * u[1], g[2] = 0.4886025119029199f * u[2];
    if (degree < 2) return;
    const float p = 1.0925484305920792f;
    g[0] += p * (y * u[4] - z * u[7] + x * u[8]);
    g[1] += p * (x * u[4] - z * u[5] - y * u[8]);
    g[2] += p * (-y * u[5] - x * u[7]) + 1.8923493915151202f * z * u[6];
    if (degree < 3) return;
    const float xx = x * x, yy = y * y, zz = z * z;
    const float a = 0.5900435899266435f, b = 2.890611442640554f, c = 0.4570457994644658f, d = 0.3731763325901154f;
    g[0] += -6 * a * x * y * u[9] + b * y * z * u[10] - c * (5 * zz - 1) * u[13] + b * x * z * u[14] -
            3 * a * (xx - yy) * u[15];
    g[1] += -3 * a * (xx - yy) * u[9] + b * x * z * u[10] - c * (5 * zz - 1) * u[11] - b * y * z * u[14] +
            6 * a * x * y * u[15];
    g[2] += b * x * y * u[10] - 10 * c * y * z * u[11] + d * (15 * zz - 3) * u[12] - 10 * c * x * z * u[13] +
            0.5f * b * (xx - yy) * u[14];
}

/// Calls body with the degree as a constant.
template <class Body>
INLINE auto with_degree(int degree, const Body& body) {
    switch (degree) {
        case 0: return body(std::integral_constant<int, 0>());
        case 1: return body(std::integral_constant<int, 1>());
        case 2: return body(std::integral_constant<int, 2>());
        default: return body(std::integral_constant<int, 3>());
    }
}

/// A coefficient's three channels (and, unused, one number of its neighbour) for all but the last coefficient.
INLINE f4 load_rgb(const float* p, bool last) {
    f4 v = {0, 0, 0, 0};
    std::memcpy(&v, p, last ? 12 : 16);
    return v;
}

/// 0.5 + sum_k basis[k] coefficients[k].
template <int TERMS>
INLINE f4 sh_colour(const float* basis, const float* coefficients) {
    f4 colour = {0.5f, 0.5f, 0.5f, 0};
    for (int k = 0; k < TERMS; ++k) colour += basis[k] * load_rgb(coefficients + 3 * k, k + 1 == TERMS);
    return colour;
}

struct Scene {
    int64_t count;
    const float *means, *quats, *scales, *opacities;
    const float* sh;       // [count, sh_stride, 3] or null
    int sh_stride, sh_degree;
};

struct Cameras {
    int count;
    const float *viewmats, *Ks;
    int width, height;
    float near_plane, far_plane, eps2d;
    bool antialiased;
};

std::vector<View> make_views(const Cameras& cameras) {
    std::vector<View> views;
    for (int c = 0; c < cameras.count; ++c) {
        views.push_back(make_view(cameras.viewmats + 16 * c, cameras.Ks + 9 * c, cameras.width, cameras.height));
    }
    return views;
}

/// Unit direction from the camera centre to a point; returns 1 / distance.
INLINE float direction_to(const View& view, const float* m, float* d) {
    for (int j = 0; j < 3; ++j) d[j] = m[j] - view.centre[j];
    const float inverse = 1.0f / std::sqrt(d[0] * d[0] + d[1] * d[1] + d[2] * d[2]);
    for (int j = 0; j < 3; ++j) d[j] *= inverse;
    return inverse;
}

struct ProjectOutputs {
    int32_t* radii;
    float *means2d, *depths, *conics, *opacities, *colours;
};

/// One Gaussian in one view.  Returns false when it is culled; NaN fails every comparison here.
INLINE bool project_one(const Scene& scene, const Cameras& cameras, const View& view, int64_t i, const float* M,
                        int64_t o, const ProjectOutputs& out) {
    const float* m = scene.means + 3 * i;
    Projection p;
    project_point(view, m, p);
    if (!(p.z >= cameras.near_plane && p.z <= cameras.far_plane)) return false;
    project_covariance(view, M, scene.opacities[i], cameras.eps2d, cameras.antialiased, p);
    if (!(p.det > 0 && std::isfinite(p.det) && p.opacity >= ALPHA_MIN && std::isfinite(p.opacity))) return false;
    const float sigmas = std::min(SIGMAS_MAX, std::sqrt(2.0f * std::log(p.opacity / ALPHA_MIN)));
    const float rx = std::ceil(sigmas * std::sqrt(p.xx)), ry = std::ceil(sigmas * std::sqrt(p.yy));
    const float mx = view.fx * p.u + view.cx, my = view.fy * p.v + view.cy;
    if (!(mx + rx > 0 && mx - rx < cameras.width && my + ry > 0 && my - ry < cameras.height)) return false;
    if (!(rx > 0 || ry > 0)) return false;
    if (scene.sh != nullptr) {
        const f4 rgb = with_degree(scene.sh_degree, [&](auto degree) {
            constexpr int DEGREE = decltype(degree)::value;
            float d[3], basis[SH_MAX];
            direction_to(view, m, d);
            sh_basis(DEGREE, d[0], d[1], d[2], basis);
            return sh_colour<(DEGREE + 1) * (DEGREE + 1)>(basis, scene.sh + 3 * int64_t(scene.sh_stride) * i);
        });
        if (!std::isfinite(rgb[0] + rgb[1] + rgb[2])) return false;
        for (int j = 0; j < 3; ++j) out.colours[3 * o + j] = std::max(rgb[j], 0.0f);
    }
    const float scale = 1.0f / p.det;
    const float limit = 1 << 24;
    out.radii[2 * o] = static_cast<int32_t>(std::min(rx, limit));
    out.radii[2 * o + 1] = static_cast<int32_t>(std::min(ry, limit));
    out.means2d[2 * o] = mx, out.means2d[2 * o + 1] = my;
    out.depths[o] = p.z;
    out.conics[3 * o] = p.yy * scale, out.conics[3 * o + 1] = -p.xy * scale, out.conics[3 * o + 2] = p.xx * scale;
    out.opacities[o] = p.opacity;
    return true;
}

void clear_outputs(const Scene& scene, int64_t o, const ProjectOutputs& out) {
    std::fill_n(out.radii + 2 * o, 2, 0);
    std::fill_n(out.means2d + 2 * o, 2, 0.0f);
    std::fill_n(out.conics + 3 * o, 3, 0.0f);
    out.depths[o] = out.opacities[o] = 0;
    if (scene.sh != nullptr) std::fill_n(out.colours + 3 * o, 3, 0.0f);
}

INLINE void scaled_rotation(const float* R, const float* s, float* M) {
    for (int k = 0; k < 3; ++k) {
        for (int j = 0; j < 3; ++j) M[3 * k + j] = R[3 * k + j] * s[j];
    }
}

void project_forward(const Scene& scene, const Cameras& cameras, const ProjectOutputs& out) {
    const auto views = make_views(cameras);
    parallel_chunks(scene.count, GAUSSIANS_PER_CHUNK, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
            float unit[4], R[9], M[9];
            rotation_of(scene.quats + 4 * i, unit, R);
            scaled_rotation(R, scene.scales + 3 * i, M);
            for (int c = 0; c < cameras.count; ++c) {
                const int64_t o = c * scene.count + i;
                if (!project_one(scene, cameras, views[c], i, M, o, out)) clear_outputs(scene, o, out);
            }
        }
    });
}

struct ProjectGradientsIn {  // any may be null (no gradient)
    const float *means2d, *depths, *conics, *opacities, *colours;
};

struct ProjectGradientsOut {
    float *means, *quats, *scales, *opacities;
    float* sh;        // null without SH
    float* viewmats;  // [C, 4, 4] or null
};

/// What one Gaussian gathers over the views.
struct GaussianGradient {
    float mean[3] = {}, M[9] = {}, opacity = 0;
    f4 sh[SH_MAX] = {};
};

INLINE float dot3(const float* a, const float* b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }

/// Colour to SH coefficients, position and camera centre.
template <int DEGREE>
INLINE void sh_backward(const Scene& scene, const View& view, int64_t i, const float* gradient,
                        GaussianGradient& total, float* centre_gradient) {
    constexpr int TERMS = (DEGREE + 1) * (DEGREE + 1);
    const float* s = scene.sh + 3 * int64_t(scene.sh_stride) * i;
    float d[3], basis[SH_MAX], u[SH_MAX], dd[3];
    const float inverse = direction_to(view, scene.means + 3 * i, d);
    sh_basis(DEGREE, d[0], d[1], d[2], basis);
    const f4 colour = sh_colour<TERMS>(basis, s);
    f4 v = {0, 0, 0, 0};
    for (int j = 0; j < 3; ++j) v[j] = colour[j] > 0 ? gradient[j] : 0.0f;
    for (int k = 0; k < TERMS; ++k) {
        total.sh[k] += basis[k] * v;
        const f4 product = v * load_rgb(s + 3 * k, k + 1 == TERMS);
        u[k] = product[0] + product[1] + product[2];
    }
    sh_direction_gradient(DEGREE, d[0], d[1], d[2], u, dd);
    const float radial = dot3(dd, d);
    for (int j = 0; j < 3; ++j) {
        const float g = (dd[j] - radial * d[j]) * inverse;
        total.mean[j] += g;
        centre_gradient[j] = -g;
    }
}

/// Gradient of the blurred covariance [[xx, xy], [xy, yy]] as a symmetric matrix, from conic and opacity.
INLINE void covariance_gradient(const Projection& p, const float* v_conic, float v_opacity, float opacity,
                                const Cameras& cameras, float* G, float& opacity_gradient) {
    const float scale = 1.0f / p.det;
    const float a = p.yy * scale, b = -p.xy * scale, c = p.xx * scale;
    const float va = v_conic[0], vb = 0.5f * v_conic[1], vc = v_conic[2];
    const float l00 = a * va + b * vb, l01 = a * vb + b * vc, l10 = b * va + c * vb, l11 = b * vb + c * vc;
    G[0] = -(l00 * a + l01 * b), G[1] = -(l00 * b + l01 * c), G[2] = -(l10 * b + l11 * c);
    if (!cameras.antialiased) {
        opacity_gradient += v_opacity;
        return;
    }
    const float ratio = p.det_sharp * scale, rho = std::sqrt(ratio);
    opacity_gradient += rho * v_opacity;
    if (p.det_sharp > 0) {
        // d ratio = (adj(sharp) - ratio adj(blurred)) / det, and adj(sharp) = adj(blurred) - eps2d I.
        const float k = v_opacity * opacity / (2 * rho) * scale, rest = 1 - ratio;
        G[0] += k * (rest * p.yy - cameras.eps2d), G[1] -= k * rest * p.xy;
        G[2] += k * (rest * p.xx - cameras.eps2d);
    }
}

void project_one_backward(const Scene& scene, const Cameras& cameras, const View& view, int64_t i, const float* M,
                          int64_t o, const ProjectGradientsIn& in, GaussianGradient& total, double* pose) {
    const float* m = scene.means + 3 * i;
    Projection p;
    project_point(view, m, p);
    project_covariance(view, M, scene.opacities[i], cameras.eps2d, cameras.antialiased, p);

    const float zeros[3] = {0, 0, 0};
    const float* v_conic = in.conics ? in.conics + 3 * o : zeros;
    const float* v_mean = in.means2d ? in.means2d + 2 * o : zeros;
    const float v_opacity = in.opacities ? in.opacities[o] : 0.0f;
    float G[3];
    covariance_gradient(p, v_conic, v_opacity, scene.opacities[i], cameras, G, total.opacity);

    float dA[6], dP[6];
    for (int j = 0; j < 3; ++j) {
        dA[j] = 2 * (G[0] * p.A[j] + G[1] * p.A[3 + j]);
        dA[3 + j] = 2 * (G[1] * p.A[j] + G[2] * p.A[3 + j]);
    }
    for (int k = 0; k < 3; ++k) {
        dP[k] = dot3(dA, M + 3 * k), dP[3 + k] = dot3(dA + 3, M + 3 * k);
        for (int j = 0; j < 3; ++j) total.M[3 * k + j] += p.P[k] * dA[j] + p.P[3 + k] * dA[3 + j];
    }

    const float kx = view.fx * p.h, ky = view.fy * p.h;
    const float* W3 = view.W + 6;
    const float du = view.fx * v_mean[0] - (p.u == p.uc ? kx * dot3(dP, W3) : 0.0f);
    const float dv = view.fy * v_mean[1] - (p.v == p.vc ? ky * dot3(dP + 3, W3) : 0.0f);
    // P = h * (...), so d/dh of the rows is P / h.
    const float dh = (dot3(dP, p.P) + dot3(dP + 3, p.P + 3)) * p.z + p.x * du + p.y * dv;
    const float dt[3] = {p.h * du, p.h * dv, (in.depths ? in.depths[o] : 0.0f) - p.h * p.h * dh};
    for (int j = 0; j < 3; ++j) {
        total.mean[j] += view.W[j] * dt[0] + view.W[3 + j] * dt[1] + view.W[6 + j] * dt[2];
    }
    float v_centre[3] = {0, 0, 0};
    if (scene.sh != nullptr && in.colours != nullptr) {
        with_degree(scene.sh_degree, [&](auto degree) {
            sh_backward<decltype(degree)::value>(scene, view, i, in.colours + 3 * o, total, v_centre);
        });
    }
    if (pose == nullptr) return;
    for (int j = 0; j < 3; ++j) {
        pose[j] += dt[0] * m[j] + kx * dP[j] - view.t[0] * v_centre[j];
        pose[4 + j] += dt[1] * m[j] + ky * dP[3 + j] - view.t[1] * v_centre[j];
        pose[8 + j] += dt[2] * m[j] - kx * p.uc * dP[j] - ky * p.vc * dP[3 + j] - view.t[2] * v_centre[j];
        pose[4 * j + 3] += dt[j] - dot3(view.W + 3 * j, v_centre);
    }
}

/// M = R(q / |q|) diag(s) to quaternion and scales.
INLINE void rotation_backward(const float* dM, const float* R, const float* unit, float inverse, const float* s,
                              float* v_quat, float* v_scale) {
    float D[9];
    for (int j = 0; j < 3; ++j) {
        v_scale[j] = dM[j] * R[j] + dM[3 + j] * R[3 + j] + dM[6 + j] * R[6 + j];
        for (int k = 0; k < 3; ++k) D[3 * k + j] = dM[3 * k + j] * s[j];
    }
    const float w = unit[0], x = unit[1], y = unit[2], z = unit[3];
    const float d[4] = {
        2 * (x * (D[7] - D[5]) + y * (D[2] - D[6]) + z * (D[3] - D[1])),
        2 * (-2 * x * (D[4] + D[8]) + y * (D[1] + D[3]) + z * (D[2] + D[6]) + w * (D[7] - D[5])),
        2 * (x * (D[1] + D[3]) - 2 * y * (D[0] + D[8]) + z * (D[7] + D[5]) + w * (D[2] - D[6])),
        2 * (x * (D[2] + D[6]) + y * (D[5] + D[7]) - 2 * z * (D[0] + D[4]) + w * (D[3] - D[1])),
    };
    const float along = d[0] * w + d[1] * x + d[2] * y + d[3] * z;
    for (int k = 0; k < 4; ++k) v_quat[k] = (d[k] - along * unit[k]) * inverse;
}

void project_backward(const Scene& scene, const Cameras& cameras, const int32_t* radii, const ProjectGradientsIn& in,
                      const ProjectGradientsOut& out) {
    const auto views = make_views(cameras);
    const int64_t chunks = (scene.count + GAUSSIANS_PER_CHUNK - 1) / GAUSSIANS_PER_CHUNK;
    std::vector<double> partial(out.viewmats ? chunks * cameras.count * 12 : 0, 0.0);
    const int terms = scene.sh ? (scene.sh_degree + 1) * (scene.sh_degree + 1) : 0;
    parallel_chunks(scene.count, GAUSSIANS_PER_CHUNK, [&](int64_t begin, int64_t end) {
        double* poses = out.viewmats ? partial.data() + begin / GAUSSIANS_PER_CHUNK * cameras.count * 12 : nullptr;
        for (int64_t i = begin; i < end; ++i) {
            float unit[4] = {}, R[9] = {}, M[9] = {};
            bool visible = false;
            GaussianGradient total;
            float inverse = 0;
            for (int c = 0; c < cameras.count; ++c) {
                const int64_t o = c * scene.count + i;
                if (radii[2 * o] == 0 && radii[2 * o + 1] == 0) continue;
                if (!visible) {
                    inverse = rotation_of(scene.quats + 4 * i, unit, R);
                    scaled_rotation(R, scene.scales + 3 * i, M);
                    visible = true;
                }
                project_one_backward(scene, cameras, views[c], i, M, o, in, total, poses ? poses + 12 * c : nullptr);
            }
            float v_quat[4] = {0, 0, 0, 0}, v_scale[3] = {0, 0, 0};
            if (visible) rotation_backward(total.M, R, unit, inverse, scene.scales + 3 * i, v_quat, v_scale);
            std::copy_n(total.mean, 3, out.means + 3 * i);
            std::copy_n(v_quat, 4, out.quats + 4 * i);
            std::copy_n(v_scale, 3, out.scales + 3 * i);
            out.opacities[i] = total.opacity;
            if (out.sh != nullptr) {
                float* g = out.sh + 3 * int64_t(scene.sh_stride) * i;
                // Four lanes each; the next coefficient overwrites the last one.
                for (int k = 0; k + 1 < terms; ++k) std::memcpy(g + 3 * k, &total.sh[k], 16);
                std::memcpy(g + 3 * (terms - 1), &total.sh[terms - 1], 12);
                std::fill_n(g + 3 * terms, 3 * (scene.sh_stride - terms), 0.0f);
            }
        }
    });
    if (out.viewmats == nullptr) return;
    std::fill_n(out.viewmats, 16 * cameras.count, 0.0f);
    for (int c = 0; c < cameras.count; ++c) {
        for (int e = 0; e < 12; ++e) {
            double sum = 0;
            for (int64_t k = 0; k < chunks; ++k) sum += partial[(k * cameras.count + c) * 12 + e];
            out.viewmats[16 * c + e] = static_cast<float>(sum);
        }
    }
}

// ---------------------------------------------------------------------------------------------------------------
// Compositing
// ---------------------------------------------------------------------------------------------------------------

constexpr int TILE_W = 64;
constexpr int TILE_H_MAX = 64;
constexpr int TILES_MIN = 32;  // below that, tiles of half the height share the work better
constexpr int STRIDE = TILE_W + LANES;  // a vector that begins in the tile may end in the padding
constexpr int PLANE = STRIDE * TILE_H_MAX;
constexpr int TILE_PIXELS = TILE_W * TILE_H_MAX;
constexpr int SEGMENTS_MAX = TILE_H_MAX * (TILE_W / LANES);
constexpr int64_t VISIBLE_PER_CHUNK = 8192;
constexpr int GRADIENTS = 12;  // mean 2, conic 3, opacity 1, colour 4, |mean| 2

struct alignas(64) Record {  // one visible Gaussian; one cache line
    float mx, my;          // pixels
    float A, B, C;         // exponent base 2: A dx^2 + B dx dy + C dy^2
    float opacity;
    float k1, k2, k3;      // the row at dy spans dx in -k3 dy +- sqrt(k1 - k2 dy^2)
    float reach_y;         // half height of the visible ellipse
    float colour[4];       // RGB and depth
    uint32_t id;
    int32_t vectors;       // vectors per row: 1, 2, or 0 for any number
};
static_assert(sizeof(Record) == 64, "one cache line");

struct Entry {  // of a tile's list
    uint32_t record, slot;
};

struct Stop {  // of a pixel, before the entry at this position of its tile's list
    uint32_t position, pixel;
};

struct Rectangle {  // of tiles, half open
    uint16_t x0, y0, x1, y1;
};

/// What the backward pass needs of one composited image.
struct Composite {
    int width, height, tile_h, tiles_x, tiles_y;
    int64_t visible;
    Buffer<Record> records;
    Buffer<Rectangle> rectangles;
    Buffer<uint32_t> first_slot;   // [visible + 1]
    Buffer<uint32_t> record_of;    // [n]: record of a Gaussian or NONE
    Buffer<Entry> entries;
    Buffer<uint64_t> keys, keys_swap;
    Buffer<uint32_t> histogram;    // [chunks, tiles]
    Buffer<uint32_t> tile_begin;   // [tiles + 1]
    Buffer<uint32_t> tile_done;    // entries composited before every pixel had stopped
    Buffer<uint32_t> stop_count;   // [tiles]
    Buffer<Stop> stops;            // [tiles, TILE_PIXELS]
    Buffer<float> transmittance;   // [H, W]
    Buffer<float> slots;           // [entries, GRADIENTS]
};
constexpr uint32_t NONE = 0xffffffffu;

std::mutex* spare_mutex = new std::mutex;
std::vector<Composite*>* spare = new std::vector<Composite*>;
constexpr size_t SPARE_MAX = 4;

Composite* acquire_composite() {
    std::lock_guard<std::mutex> lock(*spare_mutex);
    if (spare->empty()) return new Composite;
    Composite* composite = spare->back();
    spare->pop_back();
    return composite;
}

void release_composite(Composite* composite) {
    {
        std::lock_guard<std::mutex> lock(*spare_mutex);
        if (spare->size() < SPARE_MAX) {
            spare->push_back(composite);
            return;
        }
    }
    delete composite;
}

struct Splats {
    int64_t count;
    const int32_t* radii;
    const float *means2d, *conics, *depths, *opacities, *colours;
};

/// Fills the record and tile rectangle of Gaussian i.  False when it touches no pixel of the image.
INLINE bool make_record(const Splats& in, int64_t i, const Composite& image, Record& r, Rectangle& box) {
    const float a = in.conics[3 * i], b = in.conics[3 * i + 1], c = in.conics[3 * i + 2];
    const float* rgb = in.colours + 3 * i;
    r.mx = in.means2d[2 * i], r.my = in.means2d[2 * i + 1];
    r.opacity = in.opacities[i];
    if (!(std::isfinite(rgb[0] + rgb[1] + rgb[2]) && a > 0 && c > 0 && r.opacity >= ALPHA_MIN)) return false;
    const float rx = in.radii[2 * i], ry = in.radii[2 * i + 1];
    const int x0 = static_cast<int>(std::max(0.0f, std::floor(r.mx - rx)));
    const int y0 = static_cast<int>(std::max(0.0f, std::floor(r.my - ry)));
    const int x1 = static_cast<int>(std::min(static_cast<float>(image.width), std::ceil(r.mx + rx)));
    const int y1 = static_cast<int>(std::min(static_cast<float>(image.height), std::ceil(r.my + ry)));
    if (x0 >= x1 || y0 >= y1) return false;
    box.x0 = static_cast<uint16_t>(x0 / TILE_W), box.x1 = static_cast<uint16_t>((x1 - 1) / TILE_W + 1);
    box.y0 = static_cast<uint16_t>(y0 / image.tile_h), box.y1 = static_cast<uint16_t>((y1 - 1) / image.tile_h + 1);
    r.A = 0.5f * LOG2_E * a, r.B = LOG2_E * b, r.C = 0.5f * LOG2_E * c;
    // The rows' spans, from the very numbers that the exponent is evaluated with; a little generous, because the
    // alpha test decides.
    const double det = double(a) * c - double(b) * b, limit = 2.0 * std::log(double(r.opacity) / ALPHA_MIN);
    r.k1 = static_cast<float>(limit / a * 1.00001);
    r.k2 = static_cast<float>(det / (double(a) * a));
    r.k3 = b / a;
    r.reach_y = ry;
    const float widest = 2 * std::sqrt(std::max(r.k1, 0.0f)) + 1.1f;
    r.vectors = r.k2 < 0 ? 0 : widest < LANES ? 1 : widest < 2 * LANES ? 2 : 0;
    r.colour[0] = rgb[0], r.colour[1] = rgb[1], r.colour[2] = rgb[2], r.colour[3] = in.depths[i];
    r.id = static_cast<uint32_t>(i);
    return true;
}

/// Order-preserving integer of a float.
INLINE uint32_t sortable(float value) {
    uint32_t u;
    std::memcpy(&u, &value, sizeof u);
    return u & 0x80000000u ? ~u : u | 0x80000000u;
}

/// Stable sort of (key << 32 | index) by key: three passes of 11 bits.
uint64_t* sort_by_depth(uint64_t* keys, uint64_t* swap, int64_t count) {
    std::vector<uint32_t> counts(3 * 2048, 0);
    for (int64_t i = 0; i < count; ++i) {
        const uint32_t k = static_cast<uint32_t>(keys[i] >> 32);
        ++counts[k & 2047], ++counts[2048 + (k >> 11 & 2047)], ++counts[4096 + (k >> 22)];
    }
    for (int pass = 0; pass < 3; ++pass) {
        uint32_t* bins = counts.data() + 2048 * pass;
        if (count > 0 && bins[keys[0] >> (32 + 11 * pass) & 2047] == count) continue;  // all alike
        uint32_t sum = 0;
        for (int b = 0; b < 2048; ++b) {
            const uint32_t here = bins[b];
            bins[b] = sum;
            sum += here;
        }
        for (int64_t i = 0; i < count; ++i) swap[bins[keys[i] >> (32 + 11 * pass) & 2047]++] = keys[i];
        std::swap(keys, swap);
    }
    return keys;
}

/// Records of the visible Gaussians in index order, their slots, and their depth order in keys.
uint64_t* bin_records(const Splats& in, Composite& out) {
    const int64_t n = in.count, chunks = (n + VISIBLE_PER_CHUNK - 1) / VISIBLE_PER_CHUNK;
    // Written with gaps first (record i at i), closed afterwards: one streaming pass over the Gaussians.
    Record* records = out.records.resize(n);
    Rectangle* boxes = out.rectangles.resize(n);
    uint32_t* record_of = out.record_of.resize(n);
    std::vector<int64_t> counts(chunks + 1, 0), slots(chunks + 1, 0);
    parallel_chunks(n, VISIBLE_PER_CHUNK, [&](int64_t begin, int64_t end) {
        int64_t at = begin, tiles = 0;
        for (int64_t i = begin; i < end; ++i) {
            record_of[i] = NONE;
            if (in.radii[2 * i] == 0 && in.radii[2 * i + 1] == 0) continue;
            if (!make_record(in, i, out, records[at], boxes[at])) continue;
            tiles += int64_t(boxes[at].x1 - boxes[at].x0) * (boxes[at].y1 - boxes[at].y0);
            record_of[i] = static_cast<uint32_t>(at++);
        }
        counts[begin / VISIBLE_PER_CHUNK + 1] = at - begin;
        slots[begin / VISIBLE_PER_CHUNK + 1] = tiles;
    });
    for (int64_t k = 0; k < chunks; ++k) counts[k + 1] += counts[k], slots[k + 1] += slots[k];
    if (slots[chunks] >= NONE) throw std::bad_alloc();  // slots are 32-bit
    out.visible = counts[chunks];
    uint64_t* keys = out.keys.resize(out.visible);
    uint32_t* first_slot = out.first_slot.resize(n + 1);
    parallel_chunks(n, VISIBLE_PER_CHUNK, [&](int64_t begin, int64_t) {
        const int64_t k = begin / VISIBLE_PER_CHUNK;
        uint32_t slot = static_cast<uint32_t>(slots[k]);
        for (int64_t j = 0; j < counts[k + 1] - counts[k]; ++j) {
            const int64_t at = begin + j;
            keys[counts[k] + j] = uint64_t(sortable(records[at].colour[3])) << 32 | uint64_t(at);
            first_slot[at] = slot;
            slot += uint32_t(boxes[at].x1 - boxes[at].x0) * (boxes[at].y1 - boxes[at].y0);
        }
    });
    out.entries.resize(slots[chunks]);
    return sort_by_depth(keys, out.keys_swap.resize(out.visible), out.visible);
}

/// Every tile's list of records in depth order.
void bin_tiles(const uint64_t* order, Composite& out) {
    const int tiles = out.tiles_x * out.tiles_y;
    const int64_t chunks = (out.visible + VISIBLE_PER_CHUNK - 1) / VISIBLE_PER_CHUNK;
    uint32_t* histogram = out.histogram.resize(std::max<int64_t>(chunks, 1) * tiles);
    uint32_t* tile_begin = out.tile_begin.resize(tiles + 1);
    const Rectangle* boxes = out.rectangles.get();
    const uint32_t* first_slot = out.first_slot.get();
    Entry* entries = out.entries.get();
    std::fill_n(histogram, chunks * tiles, 0u);
    const auto each = [&](int64_t begin, int64_t end, const auto& visit) {
        for (int64_t i = begin; i < end; ++i) {
            const uint32_t at = static_cast<uint32_t>(order[i]);
            const Rectangle box = boxes[at];
            uint32_t slot = first_slot[at];
            for (int y = box.y0; y < box.y1; ++y) {
                for (int x = box.x0; x < box.x1; ++x) visit(y * out.tiles_x + x, Entry{at, slot++});
            }
        }
    };
    parallel_chunks(out.visible, VISIBLE_PER_CHUNK, [&](int64_t begin, int64_t end) {
        uint32_t* counts = histogram + begin / VISIBLE_PER_CHUNK * tiles;
        each(begin, end, [&](int tile, Entry) { ++counts[tile]; });
    });
    uint32_t sum = 0;
    for (int tile = 0; tile < tiles; ++tile) {
        tile_begin[tile] = sum;
        for (int64_t k = 0; k < chunks; ++k) {
            const uint32_t here = histogram[k * tiles + tile];
            histogram[k * tiles + tile] = sum;
            sum += here;
        }
    }
    tile_begin[tiles] = sum;
    parallel_chunks(out.visible, VISIBLE_PER_CHUNK, [&](int64_t begin, int64_t end) {
        uint32_t* next = histogram + begin / VISIBLE_PER_CHUNK * tiles;
        each(begin, end, [&](int tile, Entry entry) { entries[next[tile]++] = entry; });
    });
}

struct TileBounds {
    int x0, y0, columns, rows;
};

INLINE TileBounds bounds_of(const Composite& c, int tile) {
    const int x0 = tile % c.tiles_x * TILE_W, y0 = tile / c.tiles_x * c.tile_h;
    return {x0, y0, std::min(TILE_W, c.width - x0), std::min(c.tile_h, c.height - y0)};
}

/// The vectors of eight neighbouring pixels of a row that a Gaussian reaches in a tile, listed in `order`.
struct Segments {
    int32_t offset[SEGMENTS_MAX];                                      // of the first pixel in the plane
    float dx[SEGMENTS_MAX];                                            // from the first pixel to the Gaussian
    float dy[SEGMENTS_MAX], b[SEGMENTS_MAX], c[SEGMENTS_MAX];          // dy, B dy, C dy^2
    int32_t order[SEGMENTS_MAX + 2];
};

INLINE void find_row_spans(const Record& r, float mx, f8 dy, i8& first, i8& last) {
    const f8 square = splat(r.k1) - splat(r.k2) * dy * dy;
    float half_width[LANES];
    store(half_width, maximum(square, splat(0.0f)));
    for (int k = 0; k < LANES; ++k) half_width[k] = __builtin_sqrtf(half_width[k]);
    const f8 half = load(half_width), middle = splat(mx + 1.0f) + splat(r.k3) * dy;
    const f8 zero = splat(0.0f), end = splat(static_cast<float>(TILE_W));
    const f8 to = minimum(maximum(middle + half + splat(0.02f), zero), end);
    first = __builtin_convertvector(minimum(maximum(middle - half - splat(0.02f), zero), end), i8);
    last = __builtin_convertvector(only(square >= zero, to), i8);
}

INLINE int find_segments(const Record& r, const TileBounds& b, Segments& out) {
    const float mx = r.mx - (b.x0 + 0.5f), my = r.my - (b.y0 + 0.5f);
    const int y0 = static_cast<int>(std::max(0.0f, my - r.reach_y));
    const int y1 = static_cast<int>(std::min(static_cast<float>(b.rows), my + r.reach_y + 1.0f));
    const f8 lane = {0, 1, 2, 3, 4, 5, 6, 7};
    const i8 row = {0, 1, 2, 3, 4, 5, 6, 7};
    int n = 0;
    for (int base = y0; base < y1; base += LANES) {
        const f8 dy = splat(my - base) - lane;
        i8 first, last;
        find_row_spans(r, mx, dy, first, last);
        const i8 offset = (splat(int32_t(base)) + row) * STRIDE + first;
        const f8 dx = splat(mx) - __builtin_convertvector(first, f8);
        const f8 bdy = splat(r.B) * dy, c = splat(r.C) * dy * dy;
        last = (splat(int32_t(base)) + row) < splat(int32_t(y1)) ? last : first;
        if (r.vectors != 0) {
            // One or two vectors per row: slots for all of them, the order lists those that hold pixels.  Without
            // branches, because the rows of small Gaussians are unpredictable.
            for (int part = 0; part < r.vectors; ++part) {
                const int at = 2 * (base - y0) + part * LANES;
                const i8 shift = splat(int32_t(part * LANES));
                std::memcpy(out.offset + at, &(const i8&)(offset + shift), sizeof shift);
                store(out.dx + at, dx - __builtin_convertvector(shift, f8));
                store(out.dy + at, dy), store(out.b + at, bdy), store(out.c + at, c);
                int32_t holds[LANES];
                const i8 any = last > first + shift;
                std::memcpy(holds, &any, sizeof any);
                for (int k = 0; k < LANES; ++k) {
                    out.order[n] = at + k;
                    n -= holds[k];
                }
            }
            continue;
        }
        int32_t from[LANES], to[LANES];
        std::memcpy(from, &first, sizeof from);
        std::memcpy(to, &last, sizeof to);
        for (int k = 0; k < LANES; ++k) {
            for (int x = from[k]; x < to[k]; x += LANES, ++n) {
                out.offset[n] = (base + k) * STRIDE + x, out.dx[n] = mx - x;
                out.dy[n] = dy[k], out.b[n] = bdy[k], out.c[n] = c[k];
                out.order[n] = n;
            }
        }
    }
    return n;
}

/// Opacity times the Gaussian at the eight pixels of a segment.
INLINE f8 gaussian_at(const Record& r, f8 dx, f8 b, f8 c) {
    const f8 exponent = dx * (splat(r.A) * dx + b) + c;
    return splat(r.opacity) * exp2_negative(exponent);
}

struct Image {
    int channels;         // 3, or 4 with depth
    bool expected_depth;  // last channel divided by alpha
    const float* background;
};

constexpr float ALPHA_FLOOR = 1e-10f;  // expected depth divides by at least this

template <int K>
void write_tile(const Composite& out, const TileBounds& b, const float* plane_t, const float* planes,
                const Image& image, float* render, float* alpha) {
    for (int y = 0; y < b.rows; ++y) {
        const int64_t row = int64_t(b.y0 + y) * out.width + b.x0;
        float* pixel = render + K * row;
        for (int x = 0; x < b.columns; ++x, pixel += K) {
            const int at = y * STRIDE + x;
            const float t = std::fabs(plane_t[at]);
            for (int k = 0; k < K; ++k) pixel[k] = planes[k * PLANE + at];
            if (image.background != nullptr) {
                for (int k = 0; k < 3; ++k) pixel[k] += t * image.background[k];
            }
            if (K == 4 && image.expected_depth) pixel[3] /= std::max(1.0f - t, ALPHA_FLOOR);
            alpha[row + x] = 1.0f - t;
            out.transmittance.get()[row + x] = t;
        }
    }
}

/// Notes the pixels of these segments that have just stopped; returns how many.
int note_stops(const float* plane_t, const Segments& segments, int n, uint32_t position, uint8_t* stopped,
               Stop* stops, uint32_t& count) {
    int found = 0;
    for (int j = 0; j < n; ++j) {
        for (int k = 0; k < LANES; ++k) {
            const int at = segments.offset[segments.order[j]] + k;
            if (std::signbit(plane_t[at]) && !stopped[at]) {
                stopped[at] = 1;
                stops[count++] = {position, static_cast<uint32_t>(at)};
                ++found;
            }
        }
    }
    return found;
}

template <int K>
void composite_tile(Composite& out, int tile, const Image& image, float* render, float* alpha) {
    // T > 0: still open.  A stopped pixel holds -T, so that every later Gaussian fails its test against the minimum.
    alignas(64) float planes[(K + 1) * PLANE];
    alignas(64) uint8_t stopped[PLANE];
    Segments segments;
    float* plane_t = planes + K * PLANE;
    const TileBounds b = bounds_of(out, tile);
    const int used = b.rows * STRIDE;
    for (int k = 0; k < K; ++k) std::fill_n(planes + k * PLANE, used, 0.0f);
    std::fill_n(plane_t, used, -1.0f);
    std::fill_n(stopped, used, uint8_t(1));
    for (int y = 0; y < b.rows; ++y) {
        std::fill_n(plane_t + y * STRIDE, b.columns, 1.0f);
        std::fill_n(stopped + y * STRIDE, b.columns, uint8_t(0));
    }
    const uint32_t begin = out.tile_begin.get()[tile], end = out.tile_begin.get()[tile + 1];
    const Entry* entries = out.entries.get();
    const Record* records = out.records.get();
    Stop* stops = out.stops.get() + int64_t(tile) * TILE_PIXELS;
    uint32_t stop_count = 0;
    int open = b.rows * b.columns;
    uint32_t i = begin;
    const f8 lane = {0, 1, 2, 3, 4, 5, 6, 7};
    for (; i < end && open > 0; ++i) {
        if (i + 4 < end) __builtin_prefetch(records + entries[i + 4].record);
        const Record& r = records[entries[i].record];
        const int n = find_segments(r, b, segments);
        i8 stopping = splat(0);
        for (int j = 0; j < n; ++j) {
            const int s = segments.order[j];
            const f8 g = gaussian_at(r, splat(segments.dx[s]) - lane, splat(segments.b[s]), splat(segments.c[s]));
            const f8 a = only(g >= splat(ALPHA_MIN), minimum(g, splat(ALPHA_MAX)));
            float* at = planes + segments.offset[s];
            const f8 t = load(at + K * PLANE);
            const f8 weight = t * a, after = t - weight;
            const i8 go = after > splat(TRANSMITTANCE_MIN);
            const f8 w = only(go, weight);
            for (int k = 0; k < K; ++k) store(at + k * PLANE, load(at + k * PLANE) + w * splat(r.colour[k]));
            const f8 next = select(go, after, (f8)(bits(t) | splat(int32_t(0x80000000))));
            stopping |= bits(next) & ~bits(t);
            store(at + K * PLANE, next);
        }
        int64_t any[4];
        std::memcpy(any, &stopping, sizeof any);
        if ((any[0] | any[1] | any[2] | any[3]) & int64_t(0x8000000080000000ull)) {
            open -= note_stops(plane_t, segments, n, i, stopped, stops, stop_count);
        }
    }
    out.tile_done.get()[tile] = i;
    out.stop_count.get()[tile] = stop_count;
    write_tile<K>(out, b, plane_t, planes, image, render, alpha);
}

void composite_forward(const Splats& in, const Image& image, Composite& out, float* render, float* alpha) {
    // Depends on the image alone, because the order in which gradients are summed follows the tiles.
    out.tiles_x = (out.width + TILE_W - 1) / TILE_W;
    const int tall = (out.height + TILE_H_MAX - 1) / TILE_H_MAX;
    out.tile_h = out.tiles_x * tall >= TILES_MIN ? TILE_H_MAX : TILE_H_MAX / 2;
    out.tiles_y = (out.height + out.tile_h - 1) / out.tile_h;
    const int tiles = out.tiles_x * out.tiles_y;
    out.tile_done.resize(tiles), out.stop_count.resize(tiles);
    out.stops.resize(int64_t(tiles) * TILE_PIXELS);
    out.transmittance.resize(int64_t(out.width) * out.height);
    bin_tiles(bin_records(in, out), out);
    parallel(tiles, [&](int64_t tile) {
        if (image.channels == 4) {
            composite_tile<4>(out, static_cast<int>(tile), image, render, alpha);
        } else {
            composite_tile<3>(out, static_cast<int>(tile), image, render, alpha);
        }
    });
}

struct ImageGradients {
    const float *render, *alpha;      // the forward outputs
    const float *v_render, *v_alpha;  // either may be null
};

/// Loads dL/d(channel) into planes and dL/d(T_final) * T_final, the light behind the last Gaussian, into behind.
template <int K>
void read_tile_gradients(const Composite& c, const TileBounds& b, const Image& image, const ImageGradients& g,
                         float* planes, float* behind) {
    for (int y = 0; y < b.rows; ++y) {
        const int64_t row = int64_t(b.y0 + y) * c.width + b.x0;
        for (int x = 0; x < b.columns; ++x) {
            const int at = y * STRIDE + x;
            float v_alpha = g.v_alpha ? g.v_alpha[row + x] : 0.0f;
            float v[4] = {0, 0, 0, 0};
            if (g.v_render) std::copy_n(g.v_render + K * (row + x), K, v);
            if (K == 4 && image.expected_depth) {
                const float a = g.alpha[row + x];
                if (a > ALPHA_FLOOR) v_alpha -= v[3] * g.render[K * (row + x) + 3] / a;
                v[3] /= std::max(a, ALPHA_FLOOR);
            }
            for (int k = 0; k < K; ++k) planes[k * PLANE + at] = v[k];
            float light = -v_alpha;
            if (image.background != nullptr) light += dot3(v, image.background);
            behind[at] = light * c.transmittance.get()[row + x];
        }
    }
}

/// Accumulated moments of one Gaussian in one tile to the gradients of its 2-D parameters.
INLINE void write_slot(const Record& r, f4 s0, f4 s1, f4 s2, float* slot) {
    const float total = -s0[0], x = -s0[1], y = -s0[2], xx = -s0[3], xy = -s1[0], yy = -s1[1];
    const float a = 2 * LN_2 * r.A, b = LN_2 * r.B, c = 2 * LN_2 * r.C;
    slot[0] = a * x + b * y, slot[1] = b * x + c * y;
    slot[2] = 0.5f * xx, slot[3] = xy, slot[4] = 0.5f * yy;
    slot[5] = -total / r.opacity;
    slot[6] = s2[0], slot[7] = s2[1], slot[8] = s2[2], slot[9] = s2[3];
    slot[10] = s1[2], slot[11] = s1[3];
}

template <int K, bool ABSOLUTE>
void composite_tile_backward(Composite& ctx, int tile, const Image& image, const ImageGradients& gradients) {
    // Walks back to front with T before each Gaussian and the light S behind it.  A pixel that stopped early holds
    // T = S = 0, which passes nothing, until the walk reaches its stop.
    alignas(64) float planes[(K + 3) * PLANE];
    Segments segments;
    float *plane_t = planes + K * PLANE, *plane_s = plane_t + PLANE, *behind = plane_s + PLANE;
    const TileBounds b = bounds_of(ctx, tile);
    for (int k = 0; k < K + 2; ++k) std::fill_n(planes + k * PLANE, b.rows * STRIDE, 0.0f);
    read_tile_gradients<K>(ctx, b, image, gradients, planes, behind);
    const auto open_pixel = [&](int at) {
        const int64_t pixel = int64_t(b.y0 + at / STRIDE) * ctx.width + b.x0 + at % STRIDE;
        plane_t[at] = ctx.transmittance.get()[pixel];
        plane_s[at] = behind[at];
    };
    for (int y = 0; y < b.rows; ++y) {
        for (int x = 0; x < b.columns; ++x) open_pixel(y * STRIDE + x);
    }
    const Stop* stops = ctx.stops.get() + int64_t(tile) * TILE_PIXELS;
    uint32_t stop_count = ctx.stop_count.get()[tile];
    for (uint32_t k = 0; k < stop_count; ++k) plane_t[stops[k].pixel] = plane_s[stops[k].pixel] = 0;

    const uint32_t begin = ctx.tile_begin.get()[tile], end = ctx.tile_begin.get()[tile + 1];
    const Entry* entries = ctx.entries.get();
    const Record* records = ctx.records.get();
    float* slots = ctx.slots.get();
    const uint32_t done = ctx.tile_done.get()[tile];
    for (uint32_t i = done; i < end; ++i) std::fill_n(slots + int64_t(GRADIENTS) * entries[i].slot, GRADIENTS, 0.0f);
    const f8 lane = {0, 1, 2, 3, 4, 5, 6, 7};
    const f8 zero = splat(0.0f), one = splat(1.0f);
    for (uint32_t i = done; i-- > begin;) {
        if (i >= begin + 4) __builtin_prefetch(records + entries[i - 4].record);
        const Record& r = records[entries[i].record];
        const int n = find_segments(r, b, segments);
        f8 m0 = zero, mx = zero, my = zero, mxx = zero, mxy = zero, myy = zero, abs_x = zero, abs_y = zero;
        f8 colour[4] = {zero, zero, zero, zero};
        for (int j = 0; j < n; ++j) {
            const int s = segments.order[j];
            const f8 dx = splat(segments.dx[s]) - lane, dy = splat(segments.dy[s]);
            const f8 g = gaussian_at(r, dx, splat(segments.b[s]), splat(segments.c[s]));
            const f8 a = only(g >= splat(ALPHA_MIN), minimum(g, splat(ALPHA_MAX)));
            float* at = planes + segments.offset[s];
            const f8 inverse = one / (one - a);
            const f8 t = load(at + K * PLANE) * inverse, light = load(at + (K + 1) * PLANE);
            const f8 w = a * t;
            f8 q = zero;
            for (int k = 0; k < K; ++k) {
                const f8 v = load(at + k * PLANE);
                q += v * splat(r.colour[k]);
                colour[k] += w * v;
            }
            store(at + K * PLANE, t);
            store(at + (K + 1) * PLANE, light + w * q);
            const f8 v_sigma = only(g <= splat(ALPHA_MAX), a * (t * q - inverse * light));  // its negative
            const f8 vx = v_sigma * dx, vy = v_sigma * dy;
            m0 += v_sigma, mx += vx, my += vy;
            mxx += vx * dx, mxy += vx * dy, myy += vy * dy;
            if (ABSOLUTE) {
                abs_x += absolute(splat(2 * LN_2 * r.A) * vx + splat(LN_2 * r.B) * vy);
                abs_y += absolute(splat(LN_2 * r.B) * vx + splat(2 * LN_2 * r.C) * vy);
            }
        }
        write_slot(r, horizontal_sums(m0, mx, my, mxx), horizontal_sums(mxy, myy, abs_x, abs_y),
                   horizontal_sums(colour[0], colour[1], colour[2], colour[3]),
                   slots + int64_t(GRADIENTS) * entries[i].slot);
        for (; stop_count > 0 && stops[stop_count - 1].position == i; --stop_count) {
            open_pixel(static_cast<int>(stops[stop_count - 1].pixel));
        }
    }
}

struct SplatGradients {
    float *means2d, *conics, *depths, *opacities, *colours;
    float* absolute_means2d;  // or null
};

/// Sums the slots of every Gaussian.
void reduce_slots(const Composite& ctx, int64_t n, const SplatGradients& out) {
    parallel_chunks(n, GAUSSIANS_PER_CHUNK, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
            float sum[GRADIENTS] = {};
            const uint32_t at = ctx.record_of.get()[i];
            if (at != NONE) {
                const Rectangle box = ctx.rectangles.get()[at];
                const int count = (box.x1 - box.x0) * (box.y1 - box.y0);
                const float* slot = ctx.slots.get() + int64_t(GRADIENTS) * ctx.first_slot.get()[at];
                for (int j = 0; j < count; ++j, slot += GRADIENTS) {
                    for (int k = 0; k < GRADIENTS; ++k) sum[k] += slot[k];
                }
            }
            std::copy_n(sum, 2, out.means2d + 2 * i);
            std::copy_n(sum + 2, 3, out.conics + 3 * i);
            out.opacities[i] = sum[5];
            std::copy_n(sum + 6, 3, out.colours + 3 * i);
            out.depths[i] = sum[9];
            if (out.absolute_means2d) std::copy_n(sum + 10, 2, out.absolute_means2d + 2 * i);
        }
    });
}

void composite_backward(Composite& ctx, int64_t n, const Image& image, const ImageGradients& gradients,
                        const SplatGradients& out) {
    const int tiles = ctx.tiles_x * ctx.tiles_y;
    ctx.slots.resize(int64_t(GRADIENTS) * ctx.tile_begin.get()[tiles]);
    const bool absolute = out.absolute_means2d != nullptr;
    parallel(tiles, [&](int64_t index) {
        const int tile = static_cast<int>(index);
        if (image.channels == 4) {
            absolute ? composite_tile_backward<4, true>(ctx, tile, image, gradients)
                     : composite_tile_backward<4, false>(ctx, tile, image, gradients);
        } else {
            absolute ? composite_tile_backward<3, true>(ctx, tile, image, gradients)
                     : composite_tile_backward<3, false>(ctx, tile, image, gradients);
        }
    });
    reduce_slots(ctx, n, out);
}

// ---------------------------------------------------------------------------------------------------------------
// L1 + SSIM
// ---------------------------------------------------------------------------------------------------------------

constexpr int WINDOW = 11, HALO = WINDOW / 2;
constexpr int BAND = 32;  // rows per task
constexpr float SSIM_C1 = 0.01f * 0.01f, SSIM_C2 = 0.03f * 0.03f;

struct SsimScratch {
    Buffer<float> planes;  // per channel: rendered, target, and the three gradient maps, zero-padded left and right
};

struct Window {
    float g[WINDOW];
    Window() {
        double sum = 0, value[WINDOW];
        for (int i = 0; i < WINDOW; ++i) sum += value[i] = std::exp(-(i - HALO) * (i - HALO) / (2 * 1.5 * 1.5));
        for (int i = 0; i < WINDOW; ++i) g[i] = static_cast<float>(value[i] / sum);
    }
};
const Window window;

/// out[x] = sum_k g[k] in[x + k - HALO]; in is padded.
INLINE void blur_row(const float* __restrict in, float* __restrict out, int width) {
    for (int x = 0; x < width; ++x) {
        float sum = window.g[HALO] * in[x];
        for (int k = 0; k < HALO; ++k) sum += window.g[k] * (in[x + k - HALO] + in[x + HALO - k]);
        out[x] = sum;
    }
}

/// out[x] = sum_k g[k] rows[k][x].
INLINE void blur_column(const float* const* rows, float* __restrict out, int width) {
    const float* __restrict r[WINDOW];
    for (int k = 0; k < WINDOW; ++k) r[k] = rows[k];
    for (int x = 0; x < width; ++x) {
        float sum = window.g[HALO] * r[HALO][x];
        for (int k = 0; k < HALO; ++k) sum += window.g[k] * (r[k][x] + r[WINDOW - 1 - k][x]);
        out[x] = sum;
    }
}

struct Loss {
    int width, height, pitch;
    const float* weight;  // [H, W] or null
    float share;
    double weight_sum;
    float* planes;
    float* plane(int channel, int map) const {
        return planes + (int64_t(channel) * 5 + map) * height * pitch + LANES;
    }
};

/// Blurs the rows [begin, end) of `maps` images, each made on the fly by `fill(row, map, out)`, and hands every
/// finished row to `use(row, blurred rows)`.
template <int MAPS, class Fill, class Use>
void blur_band(const Loss& loss, int begin, int end, const Fill& fill, const Use& use) {
    const int pitch = loss.pitch, width = loss.width;
    std::vector<float> memory((MAPS * (WINDOW + 1) + MAPS) * pitch + pitch, 0.0f);
    const float* zeros = memory.data();
    float* ring = memory.data() + pitch;
    float* source = ring + MAPS * WINDOW * pitch + LANES;
    float* blurred[MAPS];
    for (int m = 0; m < MAPS; ++m) blurred[m] = ring + (MAPS * WINDOW + MAPS + m) * pitch;
    for (int y = begin - HALO; y < end + HALO; ++y) {
        if (y >= 0 && y < loss.height) {
            fill(y, source, pitch);
            for (int m = 0; m < MAPS; ++m) {
                blur_row(source + m * pitch, ring + (m * WINDOW + y % WINDOW) * pitch, width);
            }
        }
        const int row = y - HALO;
        if (row < begin) continue;
        for (int m = 0; m < MAPS; ++m) {
            const float* rows[WINDOW];
            for (int k = 0; k < WINDOW; ++k) {
                const int at = row + k - HALO;
                rows[k] = at >= 0 && at < loss.height ? ring + (m * WINDOW + at % WINDOW) * pitch : zeros;
            }
            blur_column(rows, blurred[m], width);
        }
        use(row, blurred);
    }
}

/// Adds the band's share of the loss, and writes the gradients of the blurred maps.
double ssim_band(const Loss& loss, int channel, int begin, int end, double& l1) {
    double ssim_sum = 0, l1_sum = 0;
    const int width = loss.width, pitch = loss.pitch;
    const float* x0 = loss.plane(channel, 0);
    const float* y0 = loss.plane(channel, 1);
    const float scale = static_cast<float>(-loss.share / (3 * loss.weight_sum));
    blur_band<4>(
        loss, begin, end,
        [&](int row, float* out, int step) {
            const float* __restrict x = x0 + int64_t(row) * pitch;
            const float* __restrict y = y0 + int64_t(row) * pitch;
            float* __restrict o = out;
            for (int i = 0; i < width; ++i) {
                o[i] = x[i], o[step + i] = y[i];
                o[2 * step + i] = x[i] * x[i] + y[i] * y[i], o[3 * step + i] = x[i] * y[i];
            }
        },
        [&](int row, float* const* blurred) {
            const float *__restrict m1 = blurred[0], *__restrict m2 = blurred[1];
            const float *__restrict squares = blurred[2], *__restrict product = blurred[3];
            float* __restrict dm = loss.plane(channel, 2) + int64_t(row) * pitch;
            float* __restrict d1 = loss.plane(channel, 3) + int64_t(row) * pitch;
            float* __restrict d12 = loss.plane(channel, 4) + int64_t(row) * pitch;
            const float* weight = loss.weight ? loss.weight + int64_t(row) * width : nullptr;
            const float* x = x0 + int64_t(row) * pitch;
            const float* y = y0 + int64_t(row) * pitch;
            float row_ssim[LANES] = {}, row_l1[LANES] = {};
            const auto pixel = [&](int i, int k, float w) {
                const float a1 = 2 * m1[i] * m2[i] + SSIM_C1, a2 = 2 * (product[i] - m1[i] * m2[i]) + SSIM_C2;
                const float mean_squares = m1[i] * m1[i] + m2[i] * m2[i];
                const float b1 = mean_squares + SSIM_C1, b2 = squares[i] - mean_squares + SSIM_C2;
                const float inverse = 1.0f / (b1 * b2), value = a1 * a2 * inverse;
                const float g1 = -value * (b1 * inverse), g12 = 2 * a1 * inverse;
                const float gm = 2 * m2[i] * a2 * inverse - 2 * m1[i] * value * (b2 * inverse) - 2 * m1[i] * g1 -
                                 m2[i] * g12;
                const float s = scale * w;
                dm[i] = s * gm, d1[i] = s * g1, d12[i] = s * g12;
                row_ssim[k] += w * value;
                row_l1[k] += w * std::fabs(x[i] - y[i]);
            };
            int i = 0;
            for (; i + LANES <= width; i += LANES) {
                for (int k = 0; k < LANES; ++k) pixel(i + k, k, weight ? weight[i + k] : 1.0f);
            }
            for (; i < width; ++i) pixel(i, 0, weight ? weight[i] : 1.0f);
            for (int k = 0; k < LANES; ++k) ssim_sum += row_ssim[k], l1_sum += row_l1[k];
        });
    l1 = l1_sum;
    return ssim_sum;
}

/// Gradient of the band with respect to the rendered image.
void ssim_band_gradient(const Loss& loss, int channel, int begin, int end, float* gradient) {
    const int width = loss.width, pitch = loss.pitch;
    const float l1_scale = static_cast<float>((1 - loss.share) / (3 * loss.weight_sum));
    blur_band<3>(
        loss, begin, end,
        [&](int row, float* out, int step) {
            for (int m = 0; m < 3; ++m) {
                std::copy_n(loss.plane(channel, 2 + m) + int64_t(row) * pitch, width, out + m * step);
            }
        },
        [&](int row, float* const* blurred) {
            const float* x = loss.plane(channel, 0) + int64_t(row) * pitch;
            const float* y = loss.plane(channel, 1) + int64_t(row) * pitch;
            const float* weight = loss.weight ? loss.weight + int64_t(row) * width : nullptr;
            float* out = gradient + int64_t(row) * width * 3 + channel;
            for (int i = 0; i < width; ++i) {
                const float difference = x[i] - y[i];
                const float sign = difference > 0 ? 1.0f : difference < 0 ? -1.0f : 0.0f;
                out[3 * i] = blurred[0][i] + 2 * x[i] * blurred[1][i] + y[i] * blurred[2][i] +
                             l1_scale * sign * (weight ? weight[i] : 1.0f);
            }
        });
}

std::mutex* ssim_mutex = new std::mutex;
SsimScratch* ssim_scratch = new SsimScratch;

double l1_ssim(Loss& loss, const float* rendered, const float* target, float* gradient) {
    std::lock_guard<std::mutex> lock(*ssim_mutex);
    const int width = loss.width, height = loss.height;
    loss.pitch = (width + 3 * LANES - 1) / LANES * LANES;
    loss.planes = ssim_scratch->planes.resize(int64_t(15) * height * loss.pitch + 2 * LANES);
    const int64_t bands = (height + BAND - 1) / BAND;
    std::vector<double> partial(bands, 0.0);
    parallel(bands, [&](int64_t band) {
        const int begin = static_cast<int>(band) * BAND, end = std::min(height, begin + BAND);
        for (int row = begin; row < end; ++row) {
            for (int m = 0; m < 2; ++m) {
                const float* in = (m ? target : rendered) + int64_t(row) * width * 3;
                for (int c = 0; c < 3; ++c) {
                    float* out = loss.plane(c, m) + int64_t(row) * loss.pitch;
                    for (int x = 0; x < width; ++x) out[x] = in[3 * x + c];
                }
            }
            if (!loss.weight) continue;
            for (int x = 0; x < width; ++x) partial[band] += loss.weight[int64_t(row) * width + x];
        }
    });
    loss.weight_sum = double(width) * height;
    if (loss.weight) {
        loss.weight_sum = 0;
        for (double p : partial) loss.weight_sum += p;
    }
    if (!(loss.weight_sum > 0)) {
        std::fill_n(gradient, int64_t(3) * width * height, 0.0f);
        return 0;
    }
    std::vector<double> l1(3 * bands), ssim(3 * bands);
    parallel(3 * bands, [&](int64_t task) {
        const int begin = static_cast<int>(task / 3) * BAND;
        ssim[task] = ssim_band(loss, static_cast<int>(task % 3), begin, std::min(height, begin + BAND), l1[task]);
    });
    parallel(bands, [&](int64_t band) {
        const int begin = static_cast<int>(band) * BAND;
        for (int c = 0; c < 3; ++c) ssim_band_gradient(loss, c, begin, std::min(height, begin + BAND), gradient);
    });
    double l1_sum = 0, ssim_sum = 0;
    for (int64_t k = 0; k < 3 * bands; ++k) l1_sum += l1[k], ssim_sum += ssim[k];
    const double scale = 1.0 / (3 * loss.weight_sum);
    return (1 - loss.share) * l1_sum * scale + loss.share * (1 - ssim_sum * scale);
}

}  // namespace

// ---------------------------------------------------------------------------------------------------------------
// C interface.  All arrays are contiguous; shapes as in the Python callers.  Nothing throws across it: functions that
// allocate return null or a negative number when memory runs out.
// ---------------------------------------------------------------------------------------------------------------

EXPORT int interngs_abi(void) { return 1; }

EXPORT void interngs_set_threads(int threads) {
    std::lock_guard<std::mutex> lock(*pool_mutex);
    wanted_threads = std::max(1, threads);
    if (pool != nullptr && pool->threads() != wanted_threads) {
        delete pool;
        pool = nullptr;
    }
}

EXPORT int interngs_threads(void) {
    std::lock_guard<std::mutex> lock(*pool_mutex);
    return wanted_threads ? wanted_threads : default_threads();
}

/// A forked child has the pool's memory but none of its threads: leave it behind and start afresh.
EXPORT void interngs_after_fork(void) {
    pool_mutex = new std::mutex;
    spare_mutex = new std::mutex;
    ssim_mutex = new std::mutex;
    pool = nullptr;
}

EXPORT int interngs_project_forward(int64_t n, const float* means, const float* quats, const float* scales,
                                    const float* opacities, const float* sh, int sh_stride, int sh_degree,
                                    int cameras, const float* viewmats, const float* Ks, int width, int height,
                                    float near_plane, float far_plane, float eps2d, int antialiased, int32_t* radii,
                                    float* means2d, float* depths, float* conics, float* out_opacities,
                                    float* colours) {
    try {
        project_forward({n, means, quats, scales, opacities, sh, sh_stride, sh_degree},
                        {cameras, viewmats, Ks, width, height, near_plane, far_plane, eps2d, antialiased != 0},
                        {radii, means2d, depths, conics, out_opacities, colours});
    } catch (const std::bad_alloc&) {
        return -1;
    }
    return 0;
}

EXPORT int interngs_project_backward(int64_t n, const float* means, const float* quats, const float* scales,
                                     const float* opacities, const float* sh, int sh_stride, int sh_degree,
                                     int cameras, const float* viewmats, const float* Ks, int width, int height,
                                     float near_plane, float far_plane, float eps2d, int antialiased,
                                     const int32_t* radii, const float* v_means2d, const float* v_depths,
                                     const float* v_conics, const float* v_opacities, const float* v_colours,
                                     float* out_means, float* out_quats, float* out_scales, float* out_opacities,
                                     float* out_sh, float* out_viewmats) {
    try {
        project_backward({n, means, quats, scales, opacities, sh, sh_stride, sh_degree},
                         {cameras, viewmats, Ks, width, height, near_plane, far_plane, eps2d, antialiased != 0},
                         radii, {v_means2d, v_depths, v_conics, v_opacities, v_colours},
                         {out_means, out_quats, out_scales, out_opacities, out_sh, out_viewmats});
    } catch (const std::bad_alloc&) {
        return -1;
    }
    return 0;
}

EXPORT void* interngs_composite_forward(int64_t n, const int32_t* radii, const float* means2d, const float* conics,
                                        const float* depths, const float* opacities, const float* colours,
                                        const float* background, int width, int height, int channels,
                                        int expected_depth, float* render, float* alpha) {
    Composite* composite = nullptr;
    try {
        composite = acquire_composite();
        composite->width = width, composite->height = height;
        composite_forward({n, radii, means2d, conics, depths, opacities, colours},
                          {channels, expected_depth != 0, background}, *composite, render, alpha);
    } catch (const std::bad_alloc&) {
        delete composite;
        return nullptr;
    }
    return composite;
}

EXPORT int interngs_composite_backward(void* composite, int64_t n, const float* background, int channels,
                                       int expected_depth, const float* render, const float* alpha,
                                       const float* v_render, const float* v_alpha, float* v_means2d, float* v_conics,
                                       float* v_depths, float* v_opacities, float* v_colours, float* v_absolute) {
    try {
        composite_backward(*static_cast<Composite*>(composite), n, {channels, expected_depth != 0, background},
                           {render, alpha, v_render, v_alpha},
                           {v_means2d, v_conics, v_depths, v_opacities, v_colours, v_absolute});
    } catch (const std::bad_alloc&) {
        return -1;
    }
    return 0;
}

EXPORT void interngs_composite_free(void* composite) { release_composite(static_cast<Composite*>(composite)); }

EXPORT int interngs_l1_ssim(const float* rendered, const float* target, const float* weight, int width, int height,
                            float share, float* gradient, double* loss) {
    try {
        Loss job{};
        job.width = width, job.height = height, job.weight = weight, job.share = share;
        *loss = l1_ssim(job, rendered, target, gradient);
    } catch (const std::bad_alloc&) {
        return -1;
    }
    return 0;
}
