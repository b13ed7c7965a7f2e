# SPDX-License-Identifier: GPL-3.0-or-later
"""The preview's two shaders: Gaussians as sorted quads, and compositing.

The projection is that of Zwicker et al., "EWA volume splatting" (2001), with the limits and thresholds of
``interngs.render``, so that both give the same picture.  Written for GPUShaderCreateInfo: one source serves OpenGL,
Vulkan and Metal from Blender 4.2 on.
"""

from __future__ import annotations

from typing import Any

import gpu

VIEW_STRUCT = """
struct SplatView {
  mat4 projection;
  vec4 viewport;   /* width, height, focal lengths in pixels */
  vec4 look;       /* opacity, size, mode, spherical-harmonic degree */
  vec4 range;      /* nearest and farthest depth of the depth mode */
};
"""
MODES = ("SPLATS", "ELLIPSOIDS", "POINTS", "DEPTH")
"""In the order of the numbers that the shader knows."""

SPLAT_VERTEX = """
vec4 texel_of(int splat, int part) {
  int at = splat * 4 + part;
  return texelFetch(splats, ivec2(at % 4096, at / 4096), 0);
}

/* A coefficient's three colours, 8 bits each in one float. */
vec3 unpack(float code) {
  float blue = floor(code / 65536.0);
  float green = floor((code - blue * 65536.0) / 256.0);
  return vec3(code - blue * 65536.0 - green * 256.0, green, blue) - 128.0;
}

/* What degrees 1 to 3 add to the colour, in the order and with the signs of 3DGS files. */
vec3 seen_from(int splat, vec3 d, int degree) {
  int at = splat * 4;
  vec4 p = texelFetch(harmonics, ivec2(at % 4096, at / 4096), 0);
  vec3 sum = -0.4886025 * d.y * unpack(p.x) + 0.4886025 * d.z * unpack(p.y) - 0.4886025 * d.x * unpack(p.z);
  if (degree < 2) return sum;
  vec4 q = texelFetch(harmonics, ivec2((at + 1) % 4096, (at + 1) / 4096), 0);
  vec3 s = d * d;
  sum += 1.0925484 * d.x * d.y * unpack(p.w) - 1.0925484 * d.y * d.z * unpack(q.x)
       + 0.3153916 * (3.0 * s.z - 1.0) * unpack(q.y) - 1.0925484 * d.x * d.z * unpack(q.z)
       + 0.5462742 * (s.x - s.y) * unpack(q.w);
  if (degree < 3) return sum;
  vec4 t = texelFetch(harmonics, ivec2((at + 2) % 4096, (at + 2) / 4096), 0);
  vec4 u = texelFetch(harmonics, ivec2((at + 3) % 4096, (at + 3) / 4096), 0);
  return sum - 0.5900436 * d.y * (3.0 * s.x - s.y) * unpack(t.x) + 2.8906114 * d.x * d.y * d.z * unpack(t.y)
       - 0.4570458 * d.y * (5.0 * s.z - 1.0) * unpack(t.z) + 0.3731763 * d.z * (5.0 * s.z - 3.0) * unpack(t.w)
       - 0.4570458 * d.x * (5.0 * s.z - 1.0) * unpack(u.x) + 1.4453057 * d.z * (s.x - s.y) * unpack(u.y)
       - 0.5900436 * d.x * (s.x - 3.0 * s.y) * unpack(u.z);
}

void leave_out() {
  gl_Position = vec4(2.0, 2.0, 2.0, 1.0);
  place = vec2(0.0);
  colour = vec4(0.0);
}

void main() {
  int splat = int(texelFetch(sorted_splats, ivec2(gl_InstanceID % 4096, gl_InstanceID / 4096), 0).r + 0.5);
  vec4 first = texel_of(splat, 0), second = texel_of(splat, 1);
  vec4 third = texel_of(splat, 2), fourth = texel_of(splat, 3);
  int owner = int(fourth.y + 0.5);
  vec4 row_x = texelFetch(owners, ivec2(0, owner), 0), row_y = texelFetch(owners, ivec2(1, owner), 0);
  vec4 row_z = texelFetch(owners, ivec2(2, owner), 0), eye = texelFetch(owners, ivec2(3, owner), 0);
  bool perspective = view.projection[3][3] == 0.0;
  int mode = int(view.look.z + 0.5), degree = int(view.look.w + 0.5);
  float opacity = min(first.w * view.look.x, 1.0);

  vec4 centre = vec4(first.xyz, 1.0);
  vec3 seen = vec3(dot(row_x, centre), dot(row_y, centre), dot(row_z, centre));
  float depth = -seen.z;
  if (eye.w == 0.0 || (perspective && depth < 0.01) || opacity < 1.0 / 255.0 || (mode == 1 && opacity < 0.1)) {
    leave_out();
    return;
  }

  vec3 rgb = vec3(third.z, third.w, fourth.x);
  if (degree > 0 && fourth.z > 0.0) {
    vec3 direction = normalize(perspective ? first.xyz - eye.xyz : eye.xyz);
    rgb += seen_from(splat, direction, degree) * fourth.z;
  }
  colour = vec4(max(rgb, 0.0), opacity);
  if (mode == 3) colour.rgb = vec3(1.0 - clamp((depth - view.range.x) / (view.range.y - view.range.x), 0.0, 1.0));

  vec4 clip = view.projection * vec4(seen, 1.0);
  vec2 size = view.viewport.xy, focal = view.viewport.zw;
  if (mode == 2) {
    float radius = 1.5 * view.look.y;
    place = corner;
    gl_Position = vec4(clip.xy + corner * radius * 2.0 / size * clip.w, clip.z, clip.w);
    return;
  }

  /* The projection's Jacobian at the centre; taken at most 15 % of the image outside it, as it fails far away. */
  vec2 diagonal = vec2(view.projection[0][0], view.projection[1][1]), shift = view.projection[2].xy;
  vec2 ratio = clamp(seen.xy / depth, (shift - 1.3) / diagonal, (shift + 1.3) / diagonal);
  mat3 jacobian = perspective
      ? mat3(focal.x / depth, 0.0, 0.0, 0.0, focal.y / depth, 0.0,
             focal.x * ratio.x / depth, focal.y * ratio.y / depth, 0.0)
      : mat3(focal.x, 0.0, 0.0, 0.0, focal.y, 0.0, 0.0, 0.0, 0.0);
  mat3 covariance = mat3(second.x, second.y, second.z, second.y, second.w, third.x, second.z, third.x, third.y);
  mat3 turned = jacobian * transpose(mat3(row_x.xyz, row_y.xyz, row_z.xyz)) * view.look.y;
  mat3 image = turned * covariance * transpose(turned);

  /* 0.3 pixel^2: the screen-space filter that 3D Gaussian splats are trained with. */
  float a = image[0][0] + 0.3, b = image[0][1], d = image[1][1] + 0.3;
  float middle = 0.5 * (a + d), spread = length(vec2(0.5 * (a - d), b));
  float larger = middle + spread, smaller = max(middle - spread, 0.3);
  vec2 axis = abs(b) < 1e-6 ? (a >= d ? vec2(1.0, 0.0) : vec2(0.0, 1.0)) : normalize(vec2(b, larger - a));
  /* As far out as the alpha is at least 1/255. */
  float reach = mode == 1 ? 1.5 : min(3.33, sqrt(2.0 * log(255.0 * opacity)));
  vec2 along = reach * sqrt(larger) * axis, across = reach * sqrt(smaller) * vec2(axis.y, -axis.x);
  place = corner * reach;
  gl_Position = vec4(clip.xy + (corner.x * along + corner.y * across) * 2.0 / size * clip.w, clip.z, clip.w);
}
"""

SPLAT_FRAGMENT = """
void main() {
  if (gl_FragCoord.z > texelFetch(scene_depth, ivec2(gl_FragCoord.xy), 0).r) discard;
  int mode = int(view.look.z + 0.5);
  float squared = dot(place, place);
  if (mode == 1) {
    /* The surface at one and a half standard deviations, lit from the eye. */
    if (squared > 2.25) discard;
    result = vec4(colour.rgb * (0.4 + 0.6 * sqrt(1.0 - squared / 2.25)), 1.0);
    return;
  }
  if (mode == 2) {
    if (squared > 1.0) discard;
    result = vec4(colour.rgb, 1.0);
    return;
  }
  float alpha = min(colour.a * exp(-0.5 * squared), 0.999);
  if (alpha < 1.0 / 255.0) discard;
  result = vec4(colour.rgb * alpha, alpha);
}
"""

COMPOSITE_VERTEX = """
void main() { uv = corner * 0.5 + 0.5; gl_Position = vec4(corner, 0.0, 1.0); }
"""

COMPOSITE_FRAGMENT = """
vec3 linear_from_srgb(vec3 encoded) {
  return mix(encoded / 12.92, pow((encoded + 0.055) / 1.055, vec3(2.4)), step(vec3(0.04045), encoded));
}

void main() {
  vec4 blended = texture(splat_image, uv);
  if (blended.a < 0.002) discard;
  /* Splats are trained to blend sRGB values; what Blender takes here is linear. */
  result = vec4(linear_from_srgb(clamp(blended.rgb / blended.a, 0.0, 1.0)) * blended.a, blended.a);
}
"""

SPLAT_SAMPLERS = ("splats", "harmonics", "owners", "sorted_splats", "scene_depth")


def splat_shader() -> Any:
    """The shader that draws each Gaussian as a quad; needs a live GPU context."""
    interface = gpu.types.GPUStageInterfaceInfo("interngs_splat")
    interface.smooth("VEC2", "place")
    interface.flat("VEC4", "colour")
    info = gpu.types.GPUShaderCreateInfo()
    info.typedef_source(VIEW_STRUCT)
    info.uniform_buf(0, "SplatView", "view")
    for slot, name in enumerate(SPLAT_SAMPLERS):
        info.sampler(slot, "FLOAT_2D", name)
    info.vertex_in(0, "VEC2", "corner")
    info.vertex_out(interface)
    info.fragment_out(0, "VEC4", "result")
    info.vertex_source(SPLAT_VERTEX)
    info.fragment_source(SPLAT_FRAGMENT)
    return gpu.shader.create_from_info(info)


def composite_shader() -> Any:
    """The shader that puts the blended picture over what is there; needs a live GPU context."""
    interface = gpu.types.GPUStageInterfaceInfo("interngs_composite")
    interface.smooth("VEC2", "uv")
    info = gpu.types.GPUShaderCreateInfo()
    info.sampler(0, "FLOAT_2D", "splat_image")
    info.vertex_in(0, "VEC2", "corner")
    info.vertex_out(interface)
    info.fragment_out(0, "VEC4", "result")
    info.vertex_source(COMPOSITE_VERTEX)
    info.fragment_source(COMPOSITE_FRAGMENT)
    return gpu.shader.create_from_info(info)
