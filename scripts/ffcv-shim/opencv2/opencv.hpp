// Stands in for OpenCV's header of this name, which includes every module; see ../opencv4.pc.
#pragma once
#include <opencv2/core.hpp>
#include <opencv2/imgproc.hpp>
